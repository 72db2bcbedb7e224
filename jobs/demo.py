"""`pathray demo`: a small synthetic cohort, and everything that is here run on it."""

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from pathray.slides.reader import Pixels


class Flags(BaseModel):
    """Make a small synthetic H&E-like cohort and run every job on it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    out: str = Field("demo-output", description="local folder for the cohort and the results")
    patients: int = Field(20, ge=12, le=200, description="patients of the cohort")
    seed: int = Field(0, ge=0, description="source of all randomness")
    serve: bool = Field(False, description="then serve what was learned, with a viewer")


def run(flags: Flags) -> int:
    """Run the demo; returns the exit code."""
    from jobs import embed, tile
    from jobs.cluster import connected
    from jobs.flags import validate
    from pathray.synthetic import make_cohort

    folder = Path(flags.out).absolute()
    slides, tiles, embeddings = folder / "slides", folder / "tiles", folder / "embeddings"
    pictures = folder / "pictures"
    cohort = slides / "cohort.csv"
    if cohort.exists():  # made anew, its slides would be other sources than the tiles'
        print(f"the slides of {cohort} are there already")
    else:
        print(f"drawing the slides of {flags.patients} patients in {slides}")
        make_cohort(slides, patients=flags.patients, seed=flags.seed)
    tile_flags = {
        "slides": str(cohort),
        "out": str(tiles),
        "mpp": 0.5,
        "preview": str(pictures),
        "seed": flags.seed,
    }
    embed_flags = {"tiles": str(tiles), "out": str(embeddings), "encoder": "mean_rgb"}
    os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    with connected():
        print(_command("tile", tile_flags))
        failed = tile.run(validate(tile.Flags, tile_flags))
        print(_command("embed", embed_flags))
        failed |= embed.run(validate(embed.Flags, embed_flags))
        failed |= _pretrain(tiles, folder / "pretraining", flags.seed)
        learned = folder / "pretraining" / "embeddings"
        failed |= _models(folder / "models", cohort, tiles, learned, flags.seed)
    _draw_tiles(tiles, pictures / "tiles.png")
    print(
        f"\nlook at   {pictures / 'tiles.png'}  (tiles of both subtypes)\n"
        f"          {pictures}/<slide_id>.png  (mask and kept tiles of each slide)\n"
        f"cohort    {cohort}\n"
        f"tiles     {tiles}/<slide_id>-<piece>.parquet\n"
        f"vectors   {embeddings}/<slide_id>.parquet\n"
        f"encoder   {folder}/pretraining/run/encoder  (learned from these tiles)\n"
        f"subtypes  {folder}/models/subtype/report.html  (open it in a browser)\n"
        f"survival  {folder}/models/survival/report.html\n"
        f"curves    mlflow ui --backend-store-uri {os.environ['MLFLOW_TRACKING_URI']}"
    )
    if flags.serve and not failed:
        from jobs.demoserve import serve_demo

        return serve_demo(folder)
    return failed


def _pretrain(tiles: Path, folder: Path, seed: int) -> int:
    """A tokenizer, an encoder that learns its codes, and embeddings by that encoder.

    Seconds of training, from a teacher of random weights: it shows the way, not the worth.
    """
    from jobs import embed, pretrain
    from jobs.flags import validate

    small = {"tiles": str(tiles), "size": "tiny", "input_size": 64, "num_workers": 0, "seed": seed}
    brief = {"batch_size": 16, "steps": 24, "lr": 5e-4}
    teacher = {"objective": "vqkd", "teacher": "timm/test_vit", "random_init": True}
    tokenizer = {"out": str(folder / "tokenizer"), **teacher, "codebook_size": 64}
    encoder = {"out": str(folder / "run"), "tokenizer": str(folder / "tokenizer" / "encoder")}
    learned = {"tiles": str(tiles), "out": str(folder / "embeddings")}
    failed = 0
    for job, flags in (
        (pretrain, small | brief | tokenizer),
        (pretrain, small | brief | encoder),
        (embed, learned | {"encoder": str(folder / "run" / "encoder")}),
    ):
        print(_command(job.__name__.rpartition(".")[2], flags))
        failed |= job.run(validate(job.Flags, flags))
    return failed


def _models(folder: Path, cohort: Path, tiles: Path, embeddings: Path, seed: int) -> int:
    """Slide models on the learned encoder's embeddings, and their predictions."""
    from importlib import import_module

    from jobs.demomodels import requests
    from jobs.flags import validate

    failed = 0
    for job, flags in requests(folder, cohort, tiles, embeddings, seed):
        print(_command(job, flags))
        module = import_module(f"jobs.{job}")
        failed |= module.run(validate(module.Flags, flags))
    return failed


def _command(job: str, flags: Mapping[str, object]) -> str:
    words = [f"\n$ pathray {job}"]
    for name, value in flags.items():
        flag = "--" + name.replace("_", "-")
        words.append(flag if value is True else f"{flag} {value}")
    return " ".join(words)


def _draw_tiles(tiles: Path, picture: Path, slides: int = 12, of_each: int = 8) -> None:
    """A sheet of tiles, a row a slide."""
    from pathray.contact_sheet import draw_contact_sheet
    from pathray.tilestore import decode_image, read_shard

    rows: list[list[Pixels]] = []
    for path in sorted(tiles.glob("*-00000.parquet")):
        images = read_shard(str(path)).images
        if len(images) >= of_each and len(rows) < slides:
            step = len(images) // of_each
            rows.append([decode_image(image) for image in images[: step * of_each : step]])
    sheet = draw_contact_sheet([tile for row in rows for tile in row], of_each, 112)
    picture.write_bytes(sheet)
