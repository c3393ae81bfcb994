"""Writes a residual block of PyTorch, an input and its output: resnet_block.safetensors.

Run with PyTorch, numpy and safetensors: python make_resnet_block.py
"""

import json
import pathlib
import struct

import torch
from torch import nn


class BasicBlock(nn.Module):
    """The block of ResNet-18, with the names that torchvision gives its parameters."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.downsample(x))


def write(path, tensors):
    """Writes tensors as safetensors: the size of the header, the header, the bytes."""
    header, body = {}, b""
    for name, tensor in tensors.items():
        data = tensor.detach().contiguous().numpy().tobytes()
        kind = {torch.float32: "F32", torch.int64: "I64"}[tensor.dtype]
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def main():
    torch.manual_seed(0)
    block = BasicBlock(8, 16, 2)
    for _ in range(20):
        block(torch.randn(8, 8, 14, 14) * 2 + 0.5)
    with torch.no_grad():
        for norm in (block.bn1, block.bn2, block.downsample[1]):
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.uniform_(-0.5, 0.5)
    block.eval()
    x = torch.randn(2, 8, 14, 14)
    tensors = dict(block.state_dict()) | {"input": x, "output": block(x)}
    write(pathlib.Path(__file__).with_name("resnet_block.safetensors"), tensors)


if __name__ == "__main__":
    main()
