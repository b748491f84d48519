"""Inference on the CPU in strips of rows: the same network, its large intermediate maps small enough for the cache.

On a CPU most of the time of a straightforward forward pass goes into moving feature maps of a whole image through
memory, several times per layer.  Local layers are therefore applied strip by strip (with the neighbouring rows they
look at), and a Mamba block in two sweeps: the first fills the branches (x, B, C) and sums up what each chunk of the
scan adds to the state, the second reads the scan out and applies gate, output and MLP while a strip is in the cache.
Every step calls the functions that the whole-image form calls; only the order of work differs.
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from adasffuse.models import scan
from adasffuse.models.mamba import Mixer, SpatialFrequencyMambaBlock
from adasffuse.models.spectral import POOL, enlarge, pool

ROWS = 16  # a strip's height is a multiple of this: whole pooling cells, and whole chunks at any width divisible by 4
_STRIP_BYTES = 8 << 20  # size of the widest map of a strip; the last-level cache holds a few of these


def strips(height: int, width: int, channels: int) -> Iterator[tuple[int, int]]:
    """First row and end of the strips of a map with this many channels."""
    item = 2 if torch.is_autocast_enabled("cpu") else 4
    rows = max(ROWS, _STRIP_BYTES // (item * width * channels) // ROWS * ROWS)
    return ((top, min(top + rows, height)) for top in range(0, height, rows))


def apply_locally(layer: Callable[..., tuple[Tensor, ...]], inputs: tuple[Tensor, ...], halo: int, channels: int):
    """`layer(*inputs)` strip by strip, for layers whose outputs depend on at most `halo` rows around them.

    Args:
        layer: maps tensors (B, C, H, W) of one height to a tuple of tensors at full, or half, height.
        halo: rows, even.
        channels: the widest intermediate map, for choosing the strips' height.
    """
    height, width = inputs[0].shape[-2:]
    results: list[Tensor] = []
    for top, bottom in strips(height, width, channels):
        first, end = max(0, top - halo), min(height, bottom + halo)
        parts = layer(*(x[..., first:end, :] for x in inputs))
        scales = [(end - first) // part.shape[-2] for part in parts]  # 1, or 2 for half resolution
        if not results:
            results = [_empty_map(part, height // scale) for part, scale in zip(parts, scales)]
        for result, part, scale in zip(results, parts, scales):
            start = (top - first) // scale
            rows = (bottom - top) // scale
            result[..., top // scale : bottom // scale, :] = part[..., start : start + rows, :]
    return tuple(results)


def apply_block(block: SpatialFrequencyMambaBlock, x: Tensor) -> Tensor:
    """A Mamba block on (B, C, H, W), in place where the memory is channels-last; returns the result."""
    x = x.contiguous(memory_format=torch.channels_last)
    mixer = block.mixer
    batch, _, height, width = x.shape
    stacked_channels = mixer.to_stacked.out_channels
    layout = list(strips(height, width, stacked_channels))

    u, low = _normalised(block, x, layout)
    A = -mixer.log_A.float().exp()
    tokens = dt = None
    for top, bottom in layout:
        branches = [part.permute(0, 2, 3, 1).flatten(1, 2) for part in _branches(mixer, u, low, top, bottom)]
        gate = F.conv2d(u[..., top + 1 : bottom + 1, :], mixer.to_gate.weight[-mixer.heads :])
        if tokens is None:  # whole chunks; dt = 0 in the last one's spare steps, which therefore change nothing
            length = _whole_chunks(height * width)
            tokens = branches[0].new_empty(batch, length, stacked_channels)
            dt = x.new_zeros(batch, length, mixer.heads, dtype=torch.float32)
            tokens[:, height * width :] = 0
        here = slice(top * width, bottom * width)
        if len(branches) == 2:
            torch.add(*branches, out=tokens[:, here])
        else:
            tokens[:, here] = branches[0]
        dt[:, here] = F.softplus(gate.permute(0, 2, 3, 1).flatten(1, 2).float() + mixer.dt_bias)

    chunk = scan.safe_chunk(dt * A, scan.CHUNK)
    carried = _carried_states(mixer, tokens, dt, A, [top * width for top, _ in layout], chunk)
    columns = _columns(mixer, tokens[:, : height * width], dt, A, width) if mixer.row_heads < mixer.heads else None
    for top, bottom in layout:
        here = slice(top * width, _whole_chunks(bottom * width))
        y = _read_strip(mixer, tokens, dt, A, carried, here, chunk)[:, : (bottom - top) * width]
        if columns is not None:
            y = torch.cat([y, columns[:, top * width : bottom * width]], dim=2)
        strip = x[..., top:bottom, :]
        z = F.conv2d(u[..., top + 1 : bottom + 1, :], mixer.to_gate.weight[: -mixer.heads])
        y = mixer.norm(y).unflatten(1, (bottom - top, width)).permute(0, 3, 1, 2) * F.silu(z)
        strip = strip.add_(mixer.out(y))
        strip.add_(block.mlp(block.mlp_norm(strip)))
    return x


def _normalised(
    block: SpatialFrequencyMambaBlock, x: Tensor, layout: list[tuple[int, int]]
) -> tuple[Tensor, Tensor | None]:
    """What the mixer gets, with a row of zeros above and below, as the 3x3 convolution sees it; its filtered branch."""
    u, pooled = None, []
    for top, bottom in layout:
        rows = block.mixer_norm(x[..., top:bottom, :])
        if u is None:
            u = _empty_map(rows, x.shape[2] + 2)
            u[..., 0, :] = u[..., -1, :] = 0
        u[..., top + 1 : bottom + 1, :] = rows
        pooled.append(pool(rows))
    if block.mixer.frequency is None:
        return u, None
    low = block.mixer.frequency(block.mixer.to_stacked(torch.cat(pooled, dim=2)))
    return u, low.contiguous(memory_format=torch.channels_last)


def _branches(mixer: Mixer, u: Tensor, low: Tensor | None, top: int, bottom: int) -> list[Tensor]:
    """Rows top .. bottom of the stacked (x, B, C), to be added, from what `_normalised` gives."""
    parts = []
    if mixer.spatial is not None:
        conv = mixer.spatial
        stacked = mixer.to_stacked(u[..., top : bottom + 2, :])  # with the rows above and below
        spatial = F.conv2d(stacked, conv.weight, conv.bias, padding=(0, 1), groups=conv.groups)
        parts.append(F.silu(spatial, inplace=True))
    if low is not None:
        first, end = top // POOL, bottom // POOL
        rows = torch.arange(first - 1, end + 1, device=low.device).clamp(0, low.shape[2] - 1)
        parts.append(enlarge(low[:, :, rows])[:, :, POOL:-POOL])
    return parts


def _chunks(mixer: Mixer, tokens: Tensor, dt: Tensor, A: Tensor, here: slice, chunk: int) -> tuple[Tensor, ...]:
    """x (G, S, K, E, P), B, C (G, S, K, N), dt and its log decay (G, S, K, E) of some tokens."""
    strip, steps = (t[:, here].unflatten(1, (-1, chunk)) for t in (tokens, dt))
    x, B, C = strip.split([strip.shape[-1] - 2 * mixer.state, mixer.state, mixer.state], dim=-1)
    return x.unflatten(-1, (mixer.heads, -1)), B, C, steps, steps * A


def _carried_states(
    mixer: Mixer, tokens: Tensor, dt: Tensor, A: Tensor, starts: list[int], chunk: int
) -> dict[bool, tuple[Tensor, Tensor]]:
    """Per direction: the state carried into every chunk (G, S, N, E*P) and half a chunk's decay (G, S, 1, E)."""
    carried: dict[bool, tuple[Tensor, Tensor]] = {}
    for here in map(slice, starts, [*starts[1:], tokens.shape[1]]):
        x, B, _, steps, log_decay = _chunks(mixer, tokens, dt, A, here, chunk)
        chunks = slice(here.start // chunk, here.stop // chunk)
        for some, backward in scan.directions(mixer.row_heads, mixer.backward_heads):
            _, source, half = scan.decay_factors(steps[..., some], log_decay[..., some], backward)
            weighted = scan.weigh(x[..., some, :], source)
            if backward not in carried:
                shapes = (mixer.state, weighted.shape[-1]), half.shape[2:]
                carried[backward] = tuple(dt.new_empty(len(dt), dt.shape[1] // chunk, *shape) for shape in shapes)
            states, halves = (whole[:, chunks] for whole in carried[backward])
            scan.gained_state(weighted, B, half, out=states)
            halves.copy_(half)
    for backward, (states, halves) in carried.items():
        scan.carry(states, scan.repeat_heads(halves.square(), states), backward)
    return carried


def _read_strip(mixer: Mixer, tokens: Tensor, dt: Tensor, A: Tensor, carried: dict, here: slice, chunk: int) -> Tensor:
    """Output of the scan through rows for some tokens, (G, L, E*P)."""
    x, B, C, steps, log_decay = _chunks(mixer, tokens, dt, A, here, chunk)
    affinity = C @ B.transpose(-1, -2)
    chunks = slice(here.start // chunk, here.stop // chunk)
    parts = []
    for some, backward in scan.directions(mixer.row_heads, mixer.backward_heads):
        reader, source, _ = scan.decay_factors(steps[..., some], log_decay[..., some], backward)
        states, half = (t[:, chunks] for t in carried[backward])
        weighted = scan.weigh(x[..., some, :], source)
        parts.append(scan.read_chunks(affinity, weighted, C, states, reader, half, backward))
    y = torch.cat(parts, dim=3) if len(parts) == 2 else parts[0]
    rows = slice(0, mixer.row_heads)
    return (y + mixer.D[rows].to(y.dtype)[:, None] * x[..., rows, :]).flatten(1, 2).flatten(2)


def _columns(mixer: Mixer, tokens: Tensor, dt: Tensor, A: Tensor, width: int) -> Tensor:
    """Output of the heads that go through columns, (G, L, E*P), of the whole map: a column crosses all strips."""
    inner, rows = tokens.shape[-1] - 2 * mixer.state, mixer.row_heads
    x, B, C = tokens.split([inner, mixer.state, mixer.state], dim=-1)
    x, dt = x.unflatten(-1, (mixer.heads, -1))[:, :, rows:], dt[:, : tokens.shape[1], rows:]
    return scan.scan_columns(x, dt, A[rows:], B, C, mixer.D[rows:], width).flatten(2)


def _whole_chunks(length: int) -> int:
    return -(-length // scan.CHUNK) * scan.CHUNK


def _empty_map(like: Tensor, height: int) -> Tensor:
    batch, channels, _, width = like.shape
    return torch.empty(
        batch, channels, height, width, dtype=like.dtype, device=like.device, memory_format=torch.channels_last
    )
