"""The looped transformer: a few layers, applied several times, reading one canvas and writing another.

x += attention(norm x) with normed queries and keys and axial 2-D rotary positions; then
x += W2(silu(dwconv3×3(g)) · u), [g, u] = W1·norm x, the convolution on image tokens only. The loop and the
convolution in the gate follow LoopViT (arXiv 2602.02156), canvas and patches VARC (arXiv 2511.14761).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .canvas import BOX_RANGE, VOCABULARY, Batch
from .execution import Execution

TASK_TOKENS = 4

COMPILED_SHAPES = 64
"""Shapes of batches that a layer may be compiled for; torch gives up after 8, and there are 7 canvases."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The shape of a network; width / heads must be a multiple of 8."""

    name: str
    width: int
    hidden: int
    heads: int
    layers: int
    loops: int

    def __post_init__(self) -> None:
        if self.width % (8 * self.heads):  # or attention falls back to a slow kernel on a GPU
            raise ValueError(f"{self.name}: {self.width} is not {self.heads} heads of a multiple of 8")


CONFIGS = {
    c.name: c
    for c in (
        ModelConfig("tiny", width=32, hidden=32, heads=2, layers=1, loops=2),
        ModelConfig("xs", width=192, hidden=352, heads=6, layers=2, loops=4),
        ModelConfig("xs3", width=192, hidden=352, heads=6, layers=3, loops=3),
        ModelConfig("xs6", width=192, hidden=352, heads=6, layers=6, loops=1),
        ModelConfig("m", width=256, hidden=480, heads=8, layers=2, loops=4),
        ModelConfig("m6", width=256, hidden=480, heads=8, layers=6, loops=1),
    )
}


def rotary(half: int, head: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines, float [TASK_TOKENS + half², head / 2]; task tokens are not turned.

    The first half of the frequencies turns with the row, the second with the column; wavelengths run
    geometrically from 2π to about 200π patches.
    """
    frequencies = 100.0 ** (-torch.arange(head // 4, device=device) / (head // 4))
    line = torch.arange(half, device=device)
    row = line.repeat_interleave(half)[:, None] * frequencies
    column = line.repeat(half)[:, None] * frequencies
    angle = F.pad(torch.cat([row, column], 1), (0, 0, TASK_TOKENS, 0))
    return angle.cos(), angle.sin()


def normed(x: Tensor, gain: Tensor) -> Tensor:
    """RMS norm over the last axis; the gain takes x's type, or half precision would lose the fused kernel."""
    if gain.dim() == 1:
        return F.rms_norm(x, x.shape[-1:], gain.to(x.dtype))
    return F.rms_norm(x, x.shape[-1:]) * to_each(x, gain.to(x.dtype))


def to_each(x: Tensor, vector: Tensor) -> Tensor:
    """A vector [width], or one a task [tasks, width], to be added to or multiplied with x [B, ..., width]."""
    if vector.dim() == 1:
        return vector
    each = vector.repeat_interleave(len(x) // len(vector), 0)
    return each.view(len(x), *[1] * (x.dim() - 2), -1)


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """x [B, tokens, in] by a matrix [out, in], or by one a task [tasks, out, in]."""
    if weight.dim() == 2:
        return F.linear(x, weight)
    y = x.reshape(len(weight), -1, x.shape[-1]) @ weight.mT
    return y.view(*x.shape[:-1], -1)


def look_up(index: Tensor, table: Tensor) -> Tensor:
    """Rows of a table [rows, width], or of one a task [tasks, rows, width], for an index [B, ...]."""
    if table.dim() == 2:
        return F.embedding(index, table)
    tasks, rows = table.shape[:2]
    first = rows * torch.arange(tasks, device=index.device).repeat_interleave(len(index) // tasks)
    return F.embedding(index + first.view(-1, *[1] * (index.dim() - 1)), table.flatten(0, 1))


def looked_up(index: Tensor, table: Tensor, rows: int) -> Tensor:
    """Sums of rows of a table, by a product with one-hot rows: its backward pass is a product as well.

    index: int64 [B, ..., n], one in 0..rows-1 for each of n parts of the table, which has n·rows rows, or so
    many a task; −1 looks nothing up. Returns [B, ..., width].
    """
    parts = index[..., None] == torch.arange(rows, device=index.device)
    return linear(parts.flatten(-2).to(table.dtype), table.mT)


def shifted(image: Tensor, kernel: Tensor) -> Tensor:
    """The same as `convolved`, of image [B, half, half, channels], by nine shifted multiply-adds."""
    half, kernel = image.shape[1], kernel.to(image.dtype)
    padded = F.pad(image, (0, 0, 1, 1, 1, 1))
    total = torch.zeros_like(image)
    for row in range(3):
        for column in range(3):
            part = padded[:, row : row + half, column : column + half]
            total = total + part * to_each(part, kernel[..., 0, row, column])
    return total


def convolved(image: Tensor, kernel: Tensor) -> Tensor:
    """image [B, channels, half, half] by a 3×3 kernel a channel [channels, 1, 3, 3], or by those of each task
    [tasks, channels, 1, 3, 3]."""
    kernel = kernel.to(image.dtype)
    if kernel.dim() == 4:
        return F.conv2d(image, kernel, padding=1, groups=image.shape[1])
    tasks, channels = kernel.shape[:2]
    size, _, *canvas = image.shape
    beside = image.reshape(tasks, size // tasks, channels, *canvas).transpose(0, 1).flatten(1, 2)
    y = F.conv2d(beside, kernel.flatten(0, 1), padding=1, groups=tasks * channels)
    return y.reshape(size // tasks, tasks, channels, *canvas).transpose(0, 1).flatten(0, 1)


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs of channels of x [B, heads, tokens, head]."""
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax attention of [B, heads, tokens, head], in v's type on a GPU and in fp32 on a CPU: there the
    backward pass of torch's kernel takes ten times as long in bf16 (docs/benchmarks.md)."""
    if v.device.type != "cpu":
        return F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v)
    with torch.autocast("cpu", enabled=False):
        return F.scaled_dot_product_attention(q.float(), k.float(), v.float())


class Layer(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, hidden = config.width, config.hidden
        self.heads = config.heads
        self.shifts = self.narrow = False
        self.norm_attention = nn.Parameter(torch.ones(width))
        self.norm_gate = nn.Parameter(torch.ones(width))
        self.gain = nn.Parameter(torch.full((2, width // config.heads), 1.5))
        self.qkv = nn.Parameter(torch.randn(3 * width, width) / math.sqrt(width))
        self.out = nn.Parameter(torch.zeros(width, width))
        self.gate = nn.Parameter(torch.randn(2 * hidden, width) / math.sqrt(width))
        self.down = nn.Parameter(torch.zeros(width, hidden))
        kernel = torch.zeros(hidden, 1, 3, 3)
        kernel[:, :, 1, 1] = 1.0
        self.kernel = nn.Parameter(kernel + 0.1 * torch.randn_like(kernel))

    def forward(self, x: Tensor, half: int, cos: Tensor, sin: Tensor) -> Tensor:
        """x: [B, TASK_TOKENS + half², width]."""
        x = x + self.attend(self.normed(x, self.norm_attention), cos, sin)
        return x + self.mix(self.normed(x, self.norm_gate), half)

    def normed(self, x: Tensor, gain: Tensor) -> Tensor:
        if not self.narrow:
            return normed(x, gain)
        with torch.autocast(x.device.type, enabled=False):  # which would compute norms in fp32
            return normed(x, gain)

    def attend(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        q, k, v = linear(x, self.qkv).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if self.narrow:
            cos, sin = cos.to(q.dtype), sin.to(q.dtype)
        q = turn(self.normed(q, self.gain[..., 0, :]), cos, sin)
        k = turn(self.normed(k, self.gain[..., 1, :]), cos, sin)
        y = attention(q, k, v)
        return linear(y.transpose(1, 2).reshape(batch, tokens, width), self.out)

    def mix(self, x: Tensor, half: int) -> Tensor:
        g, u = linear(x, self.gate).chunk(2, -1)
        image = g[:, TASK_TOKENS:].reshape(len(g), half, half, -1)
        if self.shifts:
            image = shifted(image, self.kernel)
        else:
            image = convolved(image.permute(0, 3, 1, 2), self.kernel).permute(0, 2, 3, 1)
        g = torch.cat([g[:, :TASK_TOKENS], image.flatten(1, 2)], 1)
        return linear(F.silu(g) * u, self.down)


class Solver(nn.Module):
    """Canvas in, logits of the answer's canvas out.

    With a leading task dimension on every weight (torch.func.functional_call), a batch holds as many samples
    of each task, task by task, and each is answered by its own task's weights.

    `mean_tokens` [TASK_TOKENS, width] is the mean of the pretrained task tokens: where a new task starts.
    """

    mean_tokens: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.cell = nn.Parameter(0.1 * torch.randn(4 * VOCABULARY, width))
        self.box = nn.Parameter(0.1 * torch.randn(8 * BOX_RANGE, width))
        self.step = nn.Parameter(0.02 * torch.randn(config.loops, width))
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = nn.Parameter(torch.ones(width))
        self.head = nn.Parameter(0.02 * torch.randn(4 * VOCABULARY, width))
        self.register_buffer("mean_tokens", 0.1 * torch.randn(TASK_TOKENS, width))
        self._angles: dict[tuple[int, str], tuple[Tensor, Tensor]] = {}
        self.execution = Execution()

    def execute(self, execution: Execution) -> None:
        """From now on compute this way. Graphs are the business of whoever takes the steps."""
        self.execution = execution
        if execution.compiled:
            import torch._dynamo

            torch._dynamo.config.recompile_limit = COMPILED_SHAPES
        for layer in self.layers:
            assert isinstance(layer, Layer)
            layer.shifts, layer.narrow = execution.shifts, execution.narrow
            if execution.compiled:
                layer.compile(dynamic=False)

    def forward(self, batch: Batch, tokens: Tensor, *, loops: int | None = None) -> Tensor:
        """Logits, float [B, S, S, VOCABULARY].

        tokens: [B, TASK_TOKENS, width], those of each sample's task; loops: fewer than the configured ones
        make early pretraining cheaper.
        """
        half = batch.cells.shape[1] // 2
        x = torch.cat([tokens, self.embed(batch)], 1)
        key = (half, str(x.device))
        if key not in self._angles:
            self._angles[key] = rotary(half, self.config.width // self.config.heads, x.device)
        cos, sin = self._angles[key]
        kind = x.device.type
        if self.execution.narrow and torch.is_autocast_enabled(kind):
            x = x.to(torch.get_autocast_dtype(kind))
        for loop in range(loops or self.config.loops):
            x = x + to_each(x, self.step[..., loop, :].to(x.dtype))
            for layer in self.layers:
                x = layer(x, half, cos, sin)
        x = normed(x[:, TASK_TOKENS:], self.norm)
        y = linear(x, self.head).float().view(-1, half, half, 2, 2, VOCABULARY)
        return y.transpose(2, 3).reshape(-1, 2 * half, 2 * half, VOCABULARY)

    def embed(self, batch: Batch) -> Tensor:
        """[B, half², width]: four position-specific cell lookups a patch, and the box coordinates."""
        size, side = batch.cells.shape[:2]
        half = side // 2
        patches = batch.cells.view(size, half, 2, half, 2).transpose(2, 3).reshape(size, half * half, 4)
        if self.execution.one_hot:
            return looked_up(patches, self.cell, VOCABULARY) + self._boxes_by_products(batch)
        place = VOCABULARY * torch.arange(4, device=patches.device)
        x = look_up(patches + place, self.cell).sum(2)
        edge = BOX_RANGE * torch.arange(8, device=patches.device).view(2, 4, 1)
        shown = batch.box_on.repeat_interleave(2, 1)[:, None, :, None, None]
        lines = (look_up(batch.coords + edge, self.box) * shown).sum(2)  # [B, axis, half, width]
        boxes = lines[:, 0, :, None] + lines[:, 1, None, :]
        return x + boxes.flatten(1, 2)

    def _boxes_by_products(self, batch: Batch) -> Tensor:
        """The box coordinates' part of `embed`; an edge that is not shown looks nothing up."""
        shown = batch.box_on.repeat_interleave(2, 1)[:, None, :, None] > 0
        index = torch.where(shown, batch.coords, -1).transpose(2, 3)  # [B, axis, half, 4 edges]
        table = self.box.view(*self.box.shape[:-2], 2, 4 * BOX_RANGE, -1)
        lines = [looked_up(index[:, axis], table[..., axis, :, :], BOX_RANGE) for axis in (0, 1)]
        return (lines[0][:, :, None] + lines[1][:, None, :]).flatten(1, 2)


def count_parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
