"""How an error is told in a problem."""


def reason(error: Exception) -> str:
    """Return what an error says, in one line.

    Args:
        error: What was raised.
    """
    return " ".join(str(error).split()) or type(error).__name__
