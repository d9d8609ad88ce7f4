//! A chain of hops and the idle limits between them: who closes first, whether that is right, what it costs, what mends it.
