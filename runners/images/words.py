"""What is written in a PNG file beside its pixels."""

from __future__ import annotations

import io


def words_in(png: bytes) -> dict[str, str]:
    """The texts of a PNG file, by their keywords."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as image:
        return {keyword: text for keyword, text in image.info.items() if isinstance(text, str)}
