"""All kinds of faulty dates, by name."""

from evaluation.bug_reports import BUG_REPORTS
from evaluation.faults import FAULTS

FAULTY = {**FAULTS, **BUG_REPORTS}
