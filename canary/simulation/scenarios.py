"""All kinds of faulty dates, by name."""

from canary.simulation.bug_reports import BUG_REPORTS
from canary.simulation.faults import FAULTS

FAULTY = {**FAULTS, **BUG_REPORTS}
