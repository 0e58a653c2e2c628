def evens(numbers):
    raise KeyboardInterrupt
