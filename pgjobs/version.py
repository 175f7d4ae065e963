"""The version of pgjobs, and the version of the schema it was made with."""

__version__ = "0.1.0"

# What the functions in sql/ answer to; see pgjobs.schema_version() there. Raised when a call changes.
SCHEMA_VERSION = 1
