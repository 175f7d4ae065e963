"""Reading a page: its image goes in, its text and how sure the engine is of it come out.

Importing this module is cheap. The OCR engine (seconds of imports, hundreds of megabytes) is loaded by the first
``Reader``, so only a process that reads pays for it.
"""

import io
import math
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from PIL import Image
from rapidfuzz.distance import Levenshtein


class Reader:
    """An OCR engine, loaded and warm: construct one per process and keep it.

    It works on ``threads`` cores and no more, so that one reader per core do not get in each other's way.
    """

    def __init__(self, threads: int = 1) -> None:
        import cv2
        from rapidocr import RapidOCR

        cv2.setNumThreads(threads)
        self._engine = RapidOCR(
            params={
                "Global.log_level": "critical",
                # The direction classifier turns an upright line over now and then; letters lie the right way up.
                "Global.use_cls": False,
                "EngineConfig.onnxruntime.intra_op_num_threads": threads,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
                # Lines are found in a copy of at most this height (and read in the page itself): that is enough for
                # letters, costs a quarter of what the whole page would, and bounds the cost of a page of any size.
                "Det.limit_type": "max",
                "Det.limit_side_len": 640,
                # Line by line and as short as it is: in a batch on few cores one pays for padding to the longest.
                "Rec.rec_batch_num": 1,
                "Rec.rec_img_shape": [3, 48, 64],
            }
        )
        # The engine loads each model when it first needs it; no job should have to wait for that.
        blank = Image.new("RGB", (64, 64), "white")
        self._engine(blank, use_det=False)
        self._engine(blank, use_det=True)

    def read(self, png: bytes) -> "Reading":
        """The text of a page image (PNG or whatever else Pillow opens); a blank page reads as no text at all.

        Raises `UnreadableImage` if the bytes are not a whole image.
        """
        found: Any = self._engine(_decode(png))
        if not found.txts:
            return Reading("", 0.0, ())
        pieces = [
            _Piece(text, float(confidence), corners)
            for text, confidence, corners in zip(found.txts, found.scores, found.boxes.tolist(), strict=True)
        ]
        lines = tuple(Line(" ".join(p.text for p in row), _confidence(row)) for row in _rows(pieces))
        return Reading("\n".join(line.text for line in lines), _confidence(lines), lines)


@dataclass(frozen=True)
class Line:
    """One line of text and the engine's confidence in it, from 0 to 1."""

    text: str
    confidence: float


@dataclass(frozen=True)
class Reading:
    """What was read on a page: its lines in reading order, and their mean confidence, weighted by characters."""

    text: str
    confidence: float
    lines: tuple[Line, ...]


class UnreadableImage(Exception):
    """The bytes are not a whole image: reading them again cannot help, repairing the file can."""


def accuracy(truth: str, read: str) -> float:
    """The share of the true characters that were read right: 1 - edit distance / length, and never below 0.

    White space counts as one blank however long it is, and line breaks are white space.
    """
    expected, actual = " ".join(truth.split()), " ".join(read.split())
    if not expected:
        return 0.0 if actual else 1.0
    return max(0.0, 1 - Levenshtein.distance(expected, actual) / len(expected))


def _decode(png: bytes) -> Image.Image:
    try:
        with Image.open(io.BytesIO(png)) as image:
            return image.convert("RGB")
    # Pillow lets every decoder speak for itself: these are what damaged files have been seen to raise.
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError) as error:
        raise UnreadableImage(f"not a whole image ({len(png)} bytes): {error}") from error


@dataclass(frozen=True)
class _Piece:
    """A piece of text and where the engine found it; a line of the page may come in several."""

    text: str
    confidence: float
    corners: Sequence[Sequence[float]]
    """Clockwise from the upper left, each as (x, y)."""

    @property
    def width(self) -> float:
        (left, *_), (right, *_) = self.corners[:2]
        return right - left

    @property
    def slope(self) -> float:
        (x1, y1), (x2, y2) = self.corners[:2]
        return math.atan2(y2 - y1, x2 - x1)

    def place(self, tilt: float) -> tuple[float, float, float]:
        """Its left, middle and height on the page, had the page not been tilted."""
        upright = [
            (x * math.cos(tilt) + y * math.sin(tilt), y * math.cos(tilt) - x * math.sin(tilt)) for x, y in self.corners
        ]
        ups = [y for _, y in upright]
        return min(x for x, _ in upright), fmean(ups), (ups[2] + ups[3] - ups[0] - ups[1]) / 2


def _rows(pieces: Sequence[_Piece]) -> list[list[_Piece]]:
    """The pieces line by line from the top, each line from the left.

    The tilt of the page comes off first: over the width of a letter three degrees are more than one line.
    """
    widest = max(piece.width for piece in pieces)
    tilt = median(piece.slope for piece in pieces if piece.width >= widest / 2)
    rows: list[list[tuple[float, _Piece]]] = []
    last_middle = last_height = 0.0
    for piece in sorted(pieces, key=lambda piece: piece.place(tilt)[1]):
        left, middle, height = piece.place(tilt)
        if rows and middle - last_middle < min(height, last_height) / 2:
            rows[-1].append((left, piece))
        else:
            rows.append([(left, piece)])
        last_middle, last_height = middle, height
    return [[piece for _, piece in sorted(row, key=lambda entry: entry[0])] for row in rows]


def _confidence(pieces: Iterable[_Piece | Line]) -> float:
    weighted = [(piece.confidence * len(piece.text), len(piece.text)) for piece in pieces]
    return sum(score for score, _ in weighted) / sum(length for _, length in weighted)
