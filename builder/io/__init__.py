"""Files and folders: storage, locks, atomic writes, and readers with limits."""
