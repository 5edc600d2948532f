"""Server side: the process, its host, the dispatch of calls, and health."""
