"""The model of bench/training/recipe.json in PyTorch, as a contender: a process that does one update when it is told to.

    torch_model.py IDS --threads N --experts loop|grouped|bmm [--compile] [--vocabulary N]

IDS are 32-bit token ids. `go I` does one update on spans drawn from them -> "seconds loss".
"""

import argparse
import math
import sys
import time

import numpy
import torch
from torch import nn
from torch.nn import functional as F

HIDDEN, LAYERS, HEADS, HEAD_DIM, CONTEXT = 256, 6, 4, 64, 256
EXPERTS, CHOSEN, WIDTH = 8, 2, 512
SEQUENCES = 8
BALANCE = 0.01


def rotate(x, cosines, sines):
    first, second = x.chunk(2, -1)
    return torch.cat((first * cosines - second * sines, second * cosines + first * sines), -1)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(HIDDEN, 3 * HEADS * HEAD_DIM, bias=False)
        self.out = nn.Linear(HEADS * HEAD_DIM, HIDDEN, bias=False)

    def forward(self, x, cosines, sines):
        batch, length, _ = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, HEADS, HEAD_DIM).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(rotate(q, cosines, sines), rotate(k, cosines, sines), v, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, HEADS * HEAD_DIM))


class Experts(nn.Module):
    """Switch's balance loss, two of eight experts, weights renormalised."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.router = nn.Linear(HIDDEN, EXPERTS, bias=False)
        self.gate_up = nn.Parameter(torch.randn(EXPERTS, 2 * WIDTH, HIDDEN) / math.sqrt(HIDDEN))
        self.down = nn.Parameter(torch.randn(EXPERTS, HIDDEN, WIDTH) / math.sqrt(WIDTH))

    def forward(self, x):
        scores = F.softmax(self.router(x), -1)
        weights, chosen = scores.topk(CHOSEN, -1)
        weights = weights / weights.sum(-1, keepdim=True)
        share = torch.bincount(chosen.flatten(), minlength=EXPERTS).to(x.dtype) / chosen.numel()
        loss = EXPERTS * (share * scores.mean(0)).sum()
        return {"loop": self.loop, "grouped": self.grouped}[self.kind](x, weights, chosen), loss

    def loop(self, x, weights, chosen):
        out = torch.zeros_like(x)
        for e, (gate_up, down) in enumerate(zip(self.gate_up.unbind(0), self.down.unbind(0))):
            rows, place = (chosen == e).nonzero(as_tuple=True)
            gate, up = F.linear(x[rows], gate_up).chunk(2, -1)
            y = F.linear(F.silu(gate) * up, down) * weights[rows, place, None]
            out = out.index_add(0, rows, y)
        return out

    def grouped(self, x, weights, chosen):
        flat = chosen.flatten()
        order = flat.argsort(stable=True)
        ends = torch.bincount(flat, minlength=EXPERTS).cumsum(0).to(torch.int32)
        rows = order // CHOSEN
        gate, up = F.grouped_mm(x[rows], self.gate_up.transpose(1, 2), offs=ends).chunk(2, -1)
        y = F.grouped_mm(F.silu(gate) * up, self.down.transpose(1, 2), offs=ends)
        return torch.zeros_like(x).index_add(0, rows, y * weights.flatten()[order, None])


class Block(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.attention_norm, self.expert_norm = nn.RMSNorm(HIDDEN, eps=1e-5), nn.RMSNorm(HIDDEN, eps=1e-5)
        self.attention, self.experts = Attention(), Experts(kind)

    def forward(self, x, cosines, sines):
        x = x + self.attention(self.attention_norm(x), cosines, sines)
        y, loss = self.experts(self.expert_norm(x).view(-1, HIDDEN))
        return x + y.view_as(x), loss


class Model(nn.Module):
    def __init__(self, vocabulary, kind):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, HIDDEN)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.blocks = nn.ModuleList(Block(kind) for _ in range(LAYERS))
        self.norm = nn.RMSNorm(HIDDEN, eps=1e-5)
        angles = torch.outer(torch.arange(CONTEXT), 10000.0 ** (-torch.arange(0, HEAD_DIM, 2) / HEAD_DIM))
        self.register_buffer("cosines", angles.cos())
        self.register_buffer("sines", angles.sin())

    def forward(self, ids, targets):
        x, balance = self.embedding(ids), 0.0
        for block in self.blocks:
            x, loss = block(x, self.cosines, self.sines)
            balance = balance + loss / LAYERS
        logits = F.linear(self.norm(x), self.embedding.weight)
        cross = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        return cross, cross + BALANCE * balance


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ids")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--experts", choices=["loop", "grouped"], default="loop")
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    ids = torch.from_numpy(numpy.fromfile(options.ids, dtype=numpy.int32).astype(numpy.int64))
    model = Model(options.vocabulary, options.experts)
    step = torch.compile(model) if options.compile else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    count = sum(p.numel() for p in model.parameters())
    print(f"ready torch {torch.__version__} {count} parameters", flush=True)
    for line in sys.stdin:
        if not line.startswith("go "):
            sys.exit(f"line is {line!r}, expected go I")
        began = time.perf_counter()
        starts = torch.randint(len(ids) - CONTEXT - 1, (SEQUENCES, 1))
        spans = ids[starts + torch.arange(CONTEXT + 1)]
        cross, loss = step(spans[:, :-1], spans[:, 1:])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        value = cross.item()
        print(time.perf_counter() - began, value, flush=True)


if __name__ == "__main__":
    main()
