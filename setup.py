"""Maps the folders of this repository to the packages `groundup.*`; everything else is in pyproject.toml."""

from setuptools import setup

FOLDERS = ["configs", "data", "errors", "evaluation", "models", "tokenizers", "trainers"]

setup(
    packages=[f"groundup.{folder}" for folder in FOLDERS],
    package_dir={f"groundup.{folder}": folder for folder in FOLDERS},
    package_data={"groundup.configs": ["*.yaml"]},
)
