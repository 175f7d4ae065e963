"""Reading a page: its image goes in, its text and how sure the engine is of it come out.

Importing this module is cheap. The OCR engine (seconds of imports, hundreds of megabytes) is loaded by the first
``Reader``, so only a process that reads pays for it.
"""

import io
import math
import os
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean, median
from typing import Any

from PIL import Image, UnidentifiedImageError
from rapidfuzz.distance import Levenshtein


class Reader:
    """An OCR engine, loaded and warm: construct one per process and keep it.

    It works on ``threads`` cores and no more, so that one reader per core do not get in each other's way.
    """

    def __init__(self, threads: int = 1) -> None:
        # onnxruntime sends telemetry and keeps an identity in the home folder unless told not to before it is loaded.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"

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
        """The text of a page image (PNG, or JPEG as well); a blank page reads as no text at all.

        Raises `UnreadableImage` if the bytes are not a whole image.
        """
        found: Any = self._engine(_decode(png))
        if not found.txts:
            return Reading("", 0.0, ())
        pieces = [
            _Piece(text, float(confidence), tuple((x, y) for x, y in box))
            for text, confidence, box in zip(found.txts, found.scores, found.boxes.tolist(), strict=True)
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
        with Image.open(io.BytesIO(png), formats=("PNG", "JPEG")) as image:
            return image.convert("RGB")
    except UnidentifiedImageError as error:
        # Pillow's own message names a memory address: no two failures would look alike.
        raise UnreadableImage(f"neither a PNG nor a JPEG image ({len(png)} bytes)") from error
    except _DAMAGE as error:
        raise UnreadableImage(f"not a whole image ({len(png)} bytes): {error}") from error


# Each decoder of Pillow speaks for itself: this is what damaged files make them raise.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


@dataclass(frozen=True)
class _Piece:
    """A piece of text where the engine found it; a line of the page may come in several."""

    text: str
    confidence: float
    corners: tuple[tuple[float, float], ...]
    """Clockwise from the upper left."""

    @property
    def width(self) -> float:
        return self.corners[1][0] - self.corners[0][0]

    @property
    def height(self) -> float:
        return self.corners[3][1] - self.corners[0][1]

    @property
    def middle(self) -> float:
        return fmean(y for _, y in self.corners)

    @property
    def slope(self) -> float:
        (x1, y1), (x2, y2) = self.corners[:2]
        return math.atan2(y2 - y1, x2 - x1)

    def turned(self, angle: float) -> "_Piece":
        cos, sin = math.cos(angle), math.sin(angle)
        return replace(self, corners=tuple((x * cos - y * sin, x * sin + y * cos) for x, y in self.corners))


def _rows(pieces: Sequence[_Piece]) -> list[list[_Piece]]:
    """The pieces line by line from the top, each line from the left.

    The page is set straight first: at three degrees a line's end is a whole line away from its beginning.
    """
    widest = max(piece.width for piece in pieces)
    tilt = median(piece.slope for piece in pieces if piece.width >= widest / 2)
    straight = sorted((piece.turned(-tilt) for piece in pieces), key=lambda piece: piece.middle)
    rows = [[straight[0]]]
    for above, piece in pairwise(straight):
        if piece.middle - above.middle < min(piece.height, above.height) / 2:
            rows[-1].append(piece)
        else:
            rows.append([piece])
    return [sorted(row, key=lambda piece: piece.corners[0][0]) for row in rows]


def _confidence(texts: Iterable[_Piece | Line]) -> float:
    weighted = [(text.confidence * len(text.text), len(text.text)) for text in texts]
    return sum(score for score, _ in weighted) / sum(length for _, length in weighted)
