"""Bulk: a Run that is written as it grows, survives what ends it, and can be gone on with.

``source`` reads prompts as a stream and ``spool`` hands them to the ranks through files, a bounded number ahead;
``on_rank`` generates and appends outputs to the folder's parts; ``driver`` keeps it going whatever ends a rank, and
``ordering`` puts the finished outputs into the prompts' order. ``record`` is what users read of it.
"""

from nbkit.inference.bulk.record import Bulk
from nbkit.inference.bulk.status import BulkStatus

__all__ = ["Bulk", "BulkStatus"]
