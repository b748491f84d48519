"""Writing a network as one file that runs without this package, checked before it takes its name."""

import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config as symbolic_config

from adasffuse.export.color import fused_color, keep_hot_spots, luma
from adasffuse.export.drift import equally_bright
from adasffuse.export.graph import ExportedFusion, raises_people, source_channels
from adasffuse.export.read import METADATA, METADATA_FILE
from adasffuse.files import replacing
from adasffuse.installation import install_command
from adasffuse.models import AdaSFFuse
from adasffuse.tasks import Task

TOLERANCE = 1e-3  # largest difference from PyTorch that a file may have
OPSET = 18
_CAPTURING = "capturing the network's graph"
_CHECKED = ((1, 37, 53), (2, 96, 80))  # batch, height and width at which a written file is run


class ExportError(RuntimeError):
    """The exported file does not do what the network does, or a package that export needs is missing."""


@dataclass(frozen=True)
class Export:
    """What is exported."""

    model: AdaSFFuse
    task: Task
    count: int = 2  # of sources
    colour: bool = False  # whether sources that give the result its colour are RGB, and the result too
    weights: str = ""  # name of the weights, for the description
    sha256: str = ""  # of their file, too
    keep_brightness: bool = False  # of focus settings, as in `adasffuse.inference.fuser.Fuser`

    def __post_init__(self) -> None:
        self.task.check_count(self.count)

    @property
    def evens(self) -> bool:
        """Whether sources are made equally bright where their exposure has drifted."""
        return self.task.equally_bright and not self.keep_brightness

    @property
    def inputs(self) -> list[str]:
        """Names of the sources: those of the task's folders, or source_1, source_2, ... of more or of one kind."""
        kinds = self.task.kinds_of(self.count)
        if len(set(kinds)) == self.count:
            return list(kinds)
        return [f"source_{k + 1}" for k in range(self.count)]

    def describe(self) -> dict[str, Any]:
        """What a program must know to use the file, as JSON values."""
        channels = source_channels(self.task, self.count, self.colour)
        return {
            "format": 1,
            "version": import_module("adasffuse").__version__,
            "task": self.task.id,
            "title": self.task.title,
            "weights": self.weights,
            "sha256": self.sha256,
            "inputs": self.inputs,
            "channels": list(channels),
            "kinds": list(self.task.kinds_of(self.count)),
            "people": raises_people(self.model, self.task, self.count),
            "equally_bright": self.evens,
            "range": [0.0, 1.0],
            "luminance": "Y = 0.299 R + 0.587 G + 0.114 B of sRGB values",
            "color": self.task.color,
            "output": "rgb" if self.colour else "luminance",
        }

    def reference(self, sources: Sequence[Tensor]) -> Tensor:
        """What the file must give, by the network itself."""
        kinds = self.task.kinds_of(self.count) if self.model.options.kinds else ()
        if self.evens:
            sources = equally_bright(sources)
        fused = self.model(*map(luma, sources), kinds=kinds).clamp(0, 1)
        if self.task.color == "a":
            fused = keep_hot_spots(fused, sources[0])
        return fused_color(fused, sources, self.task.color) if self.colour else fused


Tell = Callable[[str], None]  # is told, in words, what begins


def _silent(step: str) -> None:
    pass


def write_onnx(path: str | Path, export: Export, tell: Tell = _silent) -> dict[str, float]:
    """Write an ONNX file; it exists only if onnxruntime gives what PyTorch does.

    Args:
        path: the file.
        export: what is exported; its description is kept as `metadata_props[METADATA]`, JSON.
        tell: called as each of the steps begins, of which the first ones take minutes.
    Returns:
        for each size at which the file was run, its name and the largest difference from PyTorch, of white 1.
    Raises:
        ExportError: onnx, onnxruntime or onnxscript is missing, or the results differ by more than TOLERANCE.
        OSError: the file cannot be written.
    """
    onnx = require_onnx()
    with replacing(path) as temporary:  # a place that cannot be written to is found before minutes of work
        temporary.write_bytes(_onnx_model(onnx, export, tell))
        return _checked(path, export, onnx_runner(temporary), tell)


def _onnx_model(onnx: Any, export: Export, tell: Tell) -> bytes:
    tell(_CAPTURING)
    graph = captured(export)
    tell("translating it to ONNX")
    program = torch.onnx.export(
        graph,
        opset_version=OPSET,
        input_names=export.inputs,
        output_names=["fused"],
        dynamo=True,
        custom_translation_table={torch.ops.aten.exp2.default: _exp2},
        verbose=False,
    )
    model = program.model_proto
    _tidy(model)
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA, json.dumps(export.describe())
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _exp2(x):
    """2^x in ONNX: its general power takes many times as long as an exponential."""
    from onnxscript import opset18 as op

    return op.Exp(op.Mul(x, op.CastLike(op.Constant(value_float=math.log(2)), x)))


def _tidy(model) -> None:
    """Name the sizes of what goes in and out, and take out where in the source each operation comes from."""
    graph = model.graph
    del graph.value_info[:]  # shapes of intermediate results
    for one in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        del one.metadata_props[:]
        one.ClearField("doc_string")
    for tensor in (*graph.input, *graph.output):
        for name, dimension in zip(("batch", "", "height", "width"), tensor.type.tensor_type.shape.dim):
            if name:
                dimension.dim_param = name


def write_pt2(path: str | Path, export: Export, tell: Tell = _silent) -> dict[str, float]:
    """Write a torch.export file, the description beside the graph as METADATA_FILE; otherwise as `write_onnx`."""
    with replacing(path) as temporary:
        tell(_CAPTURING)
        content, program = io.BytesIO(), captured(export)
        tell("writing it")
        _forget_origin(program)
        torch.export.save(program, content, extra_files={METADATA_FILE: json.dumps(export.describe())})
        temporary.write_bytes(content.getvalue())
        tell("reading the file back")
        with open(temporary, "rb") as file:
            module = torch.export.load(io.BytesIO(file.read())).module()
        return _checked(path, export, lambda sources: module(*sources), tell)


def _forget_origin(program: ExportedProgram) -> None:
    """Take out where in the source each operation comes from, with the paths of this machine, and the example."""
    program.example_inputs = None
    for module in _graphs(program):
        for node in module.graph.nodes:
            node.meta.pop("stack_trace", None)


def _graphs(program: ExportedProgram) -> list[torch.fx.GraphModule]:
    return [module for module in program.graph_module.modules() if isinstance(module, torch.fx.GraphModule)]


def captured(export: Export) -> ExportedProgram:
    """The graph of what is exported, for any batch, height and width.

    Assertions that `torch.export` derives from the example's strides ("batch is not 1") are taken out: nothing depends
    on them.  Sources of different sizes fail in the graph's own operations.
    """
    fusion = ExportedFusion(export.model, export.task, export.count, export.colour, export.evens)
    height, width = 3 * fusion.model.multiple, 5 * fusion.model.multiple
    example = tuple(torch.rand(2, channels, height, width, dtype=torch.float32) for channels in fusion.channels)
    dynamic = {0: Dim.AUTO, 2: Dim.AUTO, 3: Dim.AUTO}
    with torch.no_grad(), symbolic_config.patch(backed_size_oblivious=True):
        program = torch.export.export(
            fusion,
            example,
            dynamic_shapes=(tuple(dynamic for _ in example),),
            prefer_deferred_runtime_asserts_over_guards=True,
        )
    for module in _graphs(program):
        for node in list(module.graph.nodes):
            if node.target is torch.ops.aten._assert_scalar.default:
                module.graph.erase_node(node)
        module.graph.eliminate_dead_code()
        module.recompile()
    return program


def onnx_runner(path: str | Path, threads: int = 0) -> Callable[[Sequence[Tensor]], Tensor]:
    """A function of the sources that runs an ONNX file on the CPU.

    Args:
        threads: of onnxruntime; 0: its own choice.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    content = Path(path).read_bytes()  # not its name: onnxruntime takes UTF-8 only
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def run(sources: Sequence[Tensor]) -> Tensor:
        values = {name: np.ascontiguousarray(source.numpy()) for name, source in zip(names, sources)}
        return torch.from_numpy(session.run(None, values)[0])

    return run


def require_onnx():
    """The package `onnx`.

    Raises:
        ExportError: it, onnxruntime or onnxscript is not installed.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise ExportError(f"export to ONNX needs {error.name}: {install_command('export')}") from None
    return onnx


def _checked(
    path: str | Path, export: Export, run: Callable[[Sequence[Tensor]], Tensor], tell: Tell
) -> dict[str, float]:
    """The largest difference, at each size, between an exported file and the network it was made from.

    Raises:
        ExportError: it is above TOLERANCE, or shapes differ.
    """
    differences = {}
    channels = source_channels(export.task, export.count, export.colour)
    for batch, height, width in _CHECKED:
        name = f"{batch}x{width}x{height}"
        tell(f"running the file, and the network, at {name}")
        sources = _scenes(channels, batch, height, width)
        with torch.inference_mode():
            expected, given = export.reference(sources), run(sources)
        if given.shape != expected.shape:
            raise ExportError(f"{path} is not written: at {name} it gives {tuple(given.shape)}")
        differences[name] = float((given - expected).abs().max())
        if not differences[name] <= TOLERANCE:
            raise ExportError(f"{path} is not written: at {name} it differs from PyTorch by {differences[name]:.1e}")
    return differences


def _scenes(channels: Sequence[int], batch: int, height: int, width: int) -> list[Tensor]:
    """Sources of that many channels: one ramp with detail of their own, each a little darker than the one before."""
    generator = torch.Generator().manual_seed(height)
    ramp = torch.linspace(0, 0.6, width, dtype=torch.float32)
    return [
        (ramp + 0.4 * torch.rand(batch, planes, height, width, generator=generator, dtype=torch.float32))
        * 0.8 ** (k / (len(channels) - 1))
        for k, planes in enumerate(channels)
    ]


WRITERS = {"onnx": write_onnx, "pt2": write_pt2}
