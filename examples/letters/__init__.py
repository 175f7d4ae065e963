"""The example behind ``pgjobs demo``: letters go in as page images, their text comes out.

``pages`` makes the page images, ``texts`` says what is written on them, ``reading`` is the OCR. This package itself
imports none of them: a worker that only claims letters must not pay for an OCR engine it never uses.
"""
