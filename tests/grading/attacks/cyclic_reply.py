def evens(numbers):
    ring = []
    ring.append(ring)
    return ring
