"""The web page itself, made with gradio (extra `demo`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adasffuse.choices import PALETTES
from adasffuse.data.samples import sample_pairs
from adasffuse.demo.work import Choices, Result, fuse_files
from adasffuse.images.write import write_image
from adasffuse.inference.fuser import STRENGTH_TASK
from adasffuse.messages import printable
from adasffuse.models import RELEASED_SIZES
from adasffuse.registration.transform import METHODS
from adasffuse.tasks import TASKS

TITLE = "AdaSFFuse: several images of one scene, fused into one"
PALETTE = [("none: as it is", "none"), *((name, name) for name in PALETTES[1:])]
ALIGN = [("none: they lie on each other", "none"), *((name, name) for name in METHODS if name != "deformable")]
_SWEEP, _AGE = 300, 1800  # seconds: how often uploads are looked through, and how old they may become


def make_page(gradio: Any, folder: Path, megapixels: float) -> Any:
    """The page, as `gradio.Blocks`.

    Args:
        gradio: the module.
        folder: where results and samples are written; nothing else is served.
        megapixels: of the largest image that is taken.
    """
    samples = write_samples(folder / "samples")
    with gradio.Blocks(title=TITLE, delete_cache=(_SWEEP, _AGE)) as page:
        gradio.Markdown(f"# {TITLE}\nUploads are deleted after half an hour.")
        with gradio.Row():
            task = gradio.Dropdown([(t.title, t.id) for t in TASKS.values()], value="ivf", label="Task")
            size = gradio.Radio(RELEASED_SIZES, value="small", label="Size of the network")
            strength = gradio.Slider(0, 1, 1, step=0.05, label="How much of the infrared", elem_id="strength")
            denoise = gradio.Slider(0, 1, 0, step=0.05, label="Noise taken away", elem_id="denoise")
            palette = gradio.Dropdown(
                PALETTE, value="none", label="False colours of gray PET or SPECT", elem_id="palette", visible=False
            )
            align = gradio.Dropdown(ALIGN, value="none", label="Registration of two images", elem_id="align")
        with gradio.Row():
            first = gradio.File(label=source_label("ivf", 0), file_count="single", elem_id="first")
            second = gradio.File(label=source_label("ivf", 1), file_count="single", elem_id="second")
            more = gradio.File(label="Further images of the stack", file_count="multiple", visible=False)
        with gradio.Row():
            sample = gradio.Button("Take a sample", elem_id="sample")
            fuse = gradio.Button("Fuse", variant="primary", elem_id="fuse")
        message = gradio.Markdown(elem_id="message")
        with gradio.Row():
            against_first = gradio.ImageSlider(label="First source | fused", type="numpy", elem_id="slider_first")
            against_second = gradio.ImageSlider(label="Second source | fused", type="numpy", elem_id="slider_second")
        with gradio.Row():
            share = gradio.Image(
                label="Whose brightness: orange the first source's, blue the second's", elem_id="share", type="numpy"
            )
            scores = gradio.Dataframe(headers=["metric", "score"], label="Scores", elem_id="scores", interactive=False)
        download = gradio.File(label="The fused image at full depth", elem_id="download", interactive=False)
        command = gradio.Textbox(label="The same on the command line", elem_id="command", interactive=False)

        def labels(chosen: str) -> list[Any]:
            stack = len(TASKS[chosen].kinds) == 1
            return [
                gradio.File(label=source_label(chosen, 0), value=None),
                gradio.File(label=source_label(chosen, 1), value=None),
                gradio.File(visible=stack, value=None),
                gradio.Slider(visible=chosen == STRENGTH_TASK),
                gradio.Slider(visible=chosen == STRENGTH_TASK),
                gradio.Dropdown(visible=TASKS[chosen].color == "a", value="none"),
            ]

        def run(
            chosen: str,
            network: str,
            infrared: float,
            calm: float,
            colors: str,
            registration: str,
            a: str,
            b: str,
            others: Sequence[str] | None,
            progress=gradio.Progress(),  # noqa: B008
        ):
            progress(0.1, desc="fusing")
            try:
                choices = Choices(chosen, network, registration, colors, infrared, calm)
                result = fuse_files(choices, [a, b, *(others or [])], folder, megapixels)
            except (ValueError, OSError, MemoryError) as error:
                raise gradio.Error(printable(error), duration=None, print_exception=False) from None
            return shown(result)

        task.change(labels, task, [first, second, more, strength, denoise, palette])
        sample.click(lambda chosen: samples[chosen], task, [first, second])
        outputs = [message, against_first, against_second, share, scores, download, command]
        inputs = [task, size, strength, denoise, palette, align, first, second, more]
        fuse.click(run, inputs, outputs, api_name="fuse", concurrency_limit=1)
    return page


def shown(result: Result) -> tuple[Any, ...]:
    """What the page's outputs show of a result, in their order."""
    rows = [[name, f"{value:.3f}"] for name, value in result.scores.items()]
    notices = "\n".join(f"- {notice}" for notice in result.notices)
    first, *_, last = result.sources
    height, width = result.fused.shape[:2]
    text = f"Fused {len(result.sources)} images of {width}x{height} pixels.\n{notices}"
    return text, (first, result.fused), (last, result.fused), result.share, rows, str(result.file), result.command


def source_label(task: str, number: int) -> str:
    """What a source of a task is called."""
    names = {"mef": ("Darkest exposure", "Brightest exposure"), "mff": ("One focus", "Another focus")}
    names |= {
        "ivf": ("Infrared image, or a FLIR radiometric JPEG alone", "Visible image"),
        "mif": ("CT, PET or SPECT", "MRI"),
    }
    return names[task][number]


def write_samples(folder: Path) -> dict[str, list[str]]:
    """One built-in sample of every task as files."""
    files = {}
    for task in TASKS:
        sample = sample_pairs(task)[0]
        files[task] = [str(folder / task / f"{side}.png") for side in ("first", "second")]
        for path, pixels in zip(files[task], (sample.a, sample.b)):
            write_image(path, pixels)
    return files
