"""`pathray demo`: a small synthetic cohort, and everything that is here run on it."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from pathray.slides.reader import Pixels


class Flags(BaseModel):
    """Make a small synthetic H&E-like cohort and run tile and embed on it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    out: str = Field("demo-output", description="local folder for the cohort and the results")
    patients: int = Field(10, ge=2, le=200, description="patients of the cohort")
    seed: int = Field(0, ge=0, description="source of all randomness")


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
    with connected():
        print(_command("tile", tile_flags))
        failed = tile.run(validate(tile.Flags, tile_flags))
        print(_command("embed", embed_flags))
        failed |= embed.run(validate(embed.Flags, embed_flags))
    _draw_tiles(tiles, pictures / "tiles.png")
    print(
        f"\nlook at   {pictures / 'tiles.png'}  (tiles of both subtypes)\n"
        f"          {pictures}/<slide_id>.png  (mask and kept tiles of each slide)\n"
        f"cohort    {cohort}\n"
        f"tiles     {tiles}/<slide_id>-<piece>.parquet\n"
        f"vectors   {embeddings}/<slide_id>.parquet"
    )
    return failed


def _command(job: str, flags: Mapping[str, object]) -> str:
    told = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in flags.items())
    return f"\n$ pathray {job} {told}"


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
