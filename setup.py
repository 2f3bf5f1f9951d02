"""Which packages the wheel carries; everything else about it is in pyproject.toml.

The workloads go along as raykd.workloads, so that `raykd quickstart` and `raykd bench` work without a checkout.
"""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["raykd", "raykd.*"]), "raykd.workloads", "raykd.workloads.bench"])
