"""raykd: knowledge distillation on Ray. Teachers are actors that serve soft targets to distributed students."""

__version__ = "0.1.0"
