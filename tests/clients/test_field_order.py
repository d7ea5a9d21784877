"""Fields of a request in orders that no generated code writes, but every protobuf parser must take."""

import numpy as np
import pytest

from tensors import SEED
from wire import field, packed, varint

A = np.arange(4, dtype=np.float32).tobytes()
B = np.ones(4, np.float32).tobytes()
UNKNOWN = field(1000, "from the future") + field(1001, 7)


def tensor(name, *more):
    return field(1, name) + field(2, "FP32") + packed(3, [1, 4]) + b"".join(more)


def expect_the_sum(oip, *fields):
    outputs = oip.outputs(oip.infer_bytes(b"".join(fields)))
    assert outputs["sum"].tolist() == [[1, 2, 3, 4]]
    assert outputs["difference"].tolist() == [[-1, 0, 1, 2]]


MODEL = field(1, "add")
INPUTS = [field(5, tensor("a")), field(5, tensor("b"))]
RAW = [field(7, A), field(7, B)]


def test_raw_contents_may_come_first(oip):
    expect_the_sum(oip, *RAW, *INPUTS, MODEL)


def test_inputs_and_raw_contents_may_alternate(oip):
    expect_the_sum(oip, RAW[0], INPUTS[0], MODEL, INPUTS[1], RAW[1])


def test_only_the_order_within_a_list_counts(oip):
    random = np.random.default_rng(SEED)
    extra = [field(3, "id"), field(4, field(1, "mine") + field(2, field(2, 1))), UNKNOWN]
    for _ in range(40):
        # Which list each place is of; the entries of a list keep their order.
        lists = {"inputs": iter(INPUTS), "raw": iter(RAW), "others": iter([MODEL, *extra])}
        places = ["inputs"] * 2 + ["raw"] * 2 + ["others"] * 4
        random.shuffle(places)
        expect_the_sum(oip, *(next(lists[place]) for place in places))


def test_fields_within_a_tensor_may_come_in_any_order(oip):
    reversed_tensor = packed(3, [1, 4]) + UNKNOWN + field(2, "FP32") + field(1, "a")
    expect_the_sum(oip, MODEL, field(5, reversed_tensor), INPUTS[1], *RAW)


def test_typed_contents_may_come_before_their_type(oip):
    typed = field(5, field(6, A)) + packed(3, [1, 4]) + field(2, "FP32") + field(1, "a")
    other = tensor("b", field(5, field(6, B)))
    response = oip.infer_bytes(field(5, typed) + field(5, other) + MODEL)
    assert list(response.outputs[0].contents.fp32_contents) == [1, 2, 3, 4]


def test_a_shape_need_not_be_packed(oip):
    plain = field(3, 1) + field(1, "a") + field(2, "FP32") + field(3, 4)
    mixed = packed(3, [1]) + field(1, "b") + field(2, "FP32") + field(3, 4)
    expect_the_sum(oip, MODEL, field(5, plain), field(5, mixed), *RAW)


def test_typed_elements_need_not_be_packed_and_may_come_in_pieces(oip):
    elements = b"".join(field(2, number) for number in (1, -2)) + packed(2, [3]) + field(2, 4)
    pieces = field(5, field(2, 0)) + field(5, elements)
    x = field(1, "x") + field(2, "INT32") + packed(3, [5]) + pieces
    response = oip.infer_bytes(field(1, "identity_int32") + field(5, x))
    assert list(response.outputs[0].contents.int_contents) == [0, 1, -2, 3, 4]


def test_the_last_of_a_single_field_counts(oip):
    twice = field(1, "nobody") + field(2, "FP64") + field(1, "a") + field(2, "FP32") + packed(3, [1, 4])
    expect_the_sum(oip, field(1, "nobody"), field(5, twice), INPUTS[1], *RAW, MODEL)


def test_numbers_may_be_longer_than_they_need_to_be(oip):
    padded = varint(1 << 3 | 2) + b"\x83\x80\x00" + b"add"
    expect_the_sum(oip, padded, *INPUTS, *RAW)


@pytest.mark.parametrize("count", [1, 300])
def test_fields_that_are_unknown_are_passed_over(oip, count):
    fixed = varint(1002 << 3 | 1) + b"12345678" + varint(1003 << 3 | 5) + b"1234"
    expect_the_sum(oip, (UNKNOWN + fixed) * count, MODEL, *INPUTS, UNKNOWN, *RAW, fixed)
