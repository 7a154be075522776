"""Where the packaged starter model and its sample training files lie, so that everything can be tried offline."""

from pathlib import Path

FOLDER: Path = Path(__file__).parent
SAMPLES: Path = FOLDER / "samples"
