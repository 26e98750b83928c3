"""Save one folder: `python -m faults.saving PATH MARK`; exit code 4 or 5 with a line, or 0."""

import sys
from pathlib import Path

from tests.core.faulty import files

from howfar.core import store
from howfar.core.errors import HowfarError

if __name__ == "__main__":
    path, mark = Path(sys.argv[1]), sys.argv[2]
    try:
        store.write_folder(path, files(mark), about={"mark": mark}, replace=True)
    except HowfarError as error:
        sys.stderr.write(f"{error.code} {error.message}\n")
        sys.exit(error.exit_code)
