"""What the README takes for granted: an application with letters in tables of its own."""

import os

from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import pgjobs  # noqa: F401  (the page goes on with it)


class Base(DeclarativeBase):
    pass


class Letter(Base):
    __tablename__ = "letters"

    id: Mapped[int] = mapped_column(primary_key=True)


engine = create_engine(os.environ["PGJOBS_DSN"].replace("postgresql", "postgresql+psycopg", 1))
Base.metadata.create_all(engine)
letter = Letter()
Session  # noqa: B018  (the page's own name for it)
