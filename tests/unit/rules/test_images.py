"""What an image's name tells about CUDA and tags."""

import pytest

from remote_gpu_trainer.rules.images import automatic_tag, cuda_in_image, repository


@pytest.mark.parametrize(
    ("image", "cuda"),
    [
        ("pytorch/pytorch:2.4.0-cuda12.4-cudnn9-runtime", 12.4),
        ("pytorch/pytorch:2.1.0-cuda11.8-cudnn8-devel", 11.8),
        ("vastai/pytorch:cuda-12.8.1-auto", 12.8),
        ("vastai/pytorch:2.5.1-cu124-py310", 12.4),
        ("nvidia/cuda:12.6.3-cudnn-runtime-ubuntu22.04", 12.6),
        ("docker.io/nvidia/cuda:13.0-base", 13.0),
        ("registry.example:5000/team/train:cu118", 11.8),
        ("ghcr.io/ada/train@sha256:" + "cu124" * 8, None),
        ("pytorch/pytorch:latest", None),
        ("pytorch/pytorch", None),
        ("registry.example:5000/cuda12.4/train", None),
        ("ghcr.io/ada/train:v12.4", None),
        ("", None),
    ],
)
def test_cuda_is_read_from_the_tag_and_only_from_there(image: str, cuda: float | None) -> None:
    assert cuda_in_image(image) == cuda


def test_the_repository_is_the_name_without_tag_and_digest() -> None:
    assert repository("registry.example:5000/a/b:tag") == "registry.example:5000/a/b"
    assert repository("a/b@sha256:00") == "a/b"
    assert repository("vastai/pytorch:@vastai-automatic-tag") == "vastai/pytorch"
    assert automatic_tag("vastai/pytorch:@vastai-automatic-tag")
