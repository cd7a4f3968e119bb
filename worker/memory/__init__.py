"""What one worker and its children may have of memory: chosen, kept, and read, by the agent.

    keeper = memory.keeper(limit_bytes, "neural")
    watch = keeper.adopt(pid)       # right after its start
    watch.look()                    # Usage
    watch.close()                   # after its death

Which mode is in force, what each can do and what it cannot: docs/limits.md. `RLIMIT_AS` is in none of them: it counts
addresses, of which a thread or a GPU takes hundreds of megabytes without any memory behind.
"""

from maitred.worker.memory.choice import MODE_VARIABLE, keeper
from maitred.worker.memory.usage import SOFT, Keeper, Usage, Watch

__all__ = ["MODE_VARIABLE", "SOFT", "Keeper", "Usage", "Watch", "keeper"]
