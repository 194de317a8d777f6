"""Maps the folders of this repository to the packages `groundup.*`; everything else is in pyproject.toml."""

from setuptools import setup

FOLDERS = [
    "configs",
    "data",
    "data/classification",
    "data/instruct",
    "errors",
    "evaluation",
    "evaluation/tasks",
    "hub",
    "models",
    "models/hf",
    "models/kernels",
    "models/lora",
    "models/quant",
    "tokenizers",
    "trainers",
]
PACKAGES = {f"groundup.{folder.replace('/', '.')}": folder for folder in FOLDERS}

setup(
    packages=list(PACKAGES),
    package_dir=PACKAGES,
    package_data={
        "groundup.configs": ["*.yaml"],
        "groundup.evaluation": ["templates/*.html"],
        "groundup.models.hf": ["*.json"],
    },
)
