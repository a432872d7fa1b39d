"""Everything that takes bytes or values from outside, each with its promise."""

from tests.fuzz import deliveries, people, servers, stored

TARGETS = [*deliveries.TARGETS, *stored.TARGETS, *servers.TARGETS, *people.TARGETS]
