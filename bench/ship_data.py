"""Build the shipped data sets from a folder of originals: python bench/ship_data.py FOLDER.

Idea     equal inputs give equal bytes: gzip without time or name, rows in order of file name
"""

import csv
import gzip
import io
import sys
import zipfile
from pathlib import Path

SHIPPED = Path(__file__).resolve().parents[1] / "src" / "howfar" / "data" / "shipped"
REVIEWS_EACH = 500


def pack(name, data):
    packed = gzip.compress(data, compresslevel=9, mtime=0)
    (SHIPPED / name).write_bytes(packed)
    print(f"{name}: {len(packed):,} bytes")


def movie_reviews(archive):
    """CSV of text and label: the first reviews of each class by file name."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["text", "label"])
    with zipfile.ZipFile(archive) as reviews:
        for label in ("neg", "pos"):
            names = sorted(name for name in reviews.namelist() if f"/{label}/cv" in name)
            for name in names[:REVIEWS_EACH]:
                writer.writerow([reviews.read(name).decode("ascii").strip(), label])
    return out.getvalue().encode()


def main():
    folder = Path(sys.argv[1])
    pack("tinyshakespeare.txt.gz", (folder / "tinyshakespeare" / "input.txt").read_bytes())
    pack("movie_reviews.csv.gz", movie_reviews(folder / "movie_reviews" / "movie_reviews.zip"))


if __name__ == "__main__":
    main()
