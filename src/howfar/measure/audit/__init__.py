"""Audit: faults that make a model answer otherwise than it should, each with a small example."""

from howfar.measure.audit.options import KINDS, AuditOptions
from howfar.measure.audit.report import Audit, Example, Finding
from howfar.measure.audit.run import audit

__all__ = ["KINDS", "Audit", "AuditOptions", "Example", "Finding", "audit"]
