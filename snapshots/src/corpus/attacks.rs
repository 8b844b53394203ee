//! The table of attacks. What a hand-made component does stands on top of its file.

use super::{Attack, Code};

/// A loss of the pack.
fn loss(name: &'static str, loss: &'static str, says: &'static [&'static str]) -> Attack {
    Attack {
        name,
        code: Code::Loss(loss),
        ways: vec![String::new()],
        says,
        limits: "",
        seconds: 10.0,
        mebibytes: 100,
        trains: false,
        gpu: false,
        sandbox_only: false,
        wide: false,
    }
}

/// A component made by hand.
fn wat(name: &'static str, says: &'static [&'static str]) -> Attack {
    Attack { code: Code::Wat, ..loss(name, "attack", says) }
}

impl Attack {
    /// Its ways, each as hyperparameters.
    fn ways(mut self, ways: &[&str]) -> Self {
        self.ways = ways.iter().map(ToString::to_string).collect();
        self
    }

    /// Its ways: all values of `n` up to this.
    fn numbered(mut self, ways: usize) -> Self {
        self.ways = (0..ways).map(|n| format!("n={n}")).collect();
        self
    }

    fn limits(self, limits: &'static str) -> Self {
        Attack { limits, ..self }
    }

    fn within(self, seconds: f64, mebibytes: u64) -> Self {
        Attack { seconds, mebibytes, ..self }
    }

    fn in_training(self) -> Self {
        Attack { trains: true, seconds: 60.0, mebibytes: 400, ..self }
    }

    fn on_gpu(self) -> Self {
        Attack { gpu: true, ..self }
    }

    fn in_sandbox(self) -> Self {
        Attack { sandbox_only: true, ..self }
    }

    fn in_64_bits(self) -> Self {
        Attack { wide: true, ..self }
    }
}

/// A number of values where sizes are meant that none is, for ten operations: see `numbers.wat`.
fn numbers() -> Attack {
    let ways = (0..10).flat_map(|op| (0..7).map(move |n| format!("n={}", 10 * op + n)));
    Attack { ways: ways.collect(), ..wat("numbers", &["is not a size"]) }
}

/// All attacks, in the order in which they run.
pub fn attacks() -> Vec<Attack> {
    [places(), sizes(), memory(), time(), state(), talk(), components(), descriptions()].concat()
}

/// Indices that lie outside.
fn places() -> Vec<Attack> {
    let index = |name, ways: &[&str]| {
        loss(
            name,
            "indices",
            &["is not in 0..6", "its integers may leave", "is not a whole number", "is not a size"],
        )
        .ways(ways)
        .on_gpu()
        .in_64_bits()
    };
    vec![
        index("rows_outside", &["at=6", "at=16", "at=-1", "at=-7"]),
        index("rows_far_outside", &["at=400000000", "at=2147483647", "at=-2147483648"]),
        index("rows_beyond_32_bits", &["at=4294967297", "at=-4294967290", "at=1e18"]),
        index("gather_outside", &["of=gather at=6", "of=gather at=400000000", "of=gather at=-1"]),
        index(
            "gather_index_outside",
            &["of=gather_index at=6", "of=gather_index at=400000000", "of=gather_index at=-1"],
        ),
        index(
            "one_hot_outside",
            &["of=one_hot at=6", "of=one_hot at=400000000", "of=one_hot at=-1"],
        ),
        index(
            "set_rows_outside",
            &["of=set_rows at=6", "of=set_rows at=400000000", "of=set_rows at=-1"],
        ),
        index(
            "added_indices",
            &["made=added at=6", "made=added at=4294967290", "made=added at=-4294967290"],
        ),
        index("wrapped_indices", &["made=added at=1.8e19", "made=added at=-1.8e19"]),
        index("modulo_indices", &["made=modulo at=6", "made=modulo at=4294967301"]),
        index("drawn_indices", &["made=drawn at=1000000", "of=gather made=drawn at=2147483647"]),
        index("range_indices", &["made=range at=6", "of=set_rows made=range at=6"]),
        index("joined_indices", &["made=joined at=6", "of=one_hot made=joined at=-1"]),
        index("sorted_indices", &["made=sorted at=7", "of=gather made=sorted at=100"]),
        index("label_indices", &["made=labels at=6", "of=one_hot made=labels at=4"]),
        loss(
            "contrast_indices",
            "indices",
            &["limit `tensor_bytes`", "limit `held_bytes`", "is not a size"],
        )
        .ways(&["made=contrast at=1e9", "made=contrast at=1e15"])
        .on_gpu(),
    ]
}

/// The operations that are given a size.
const SIZED: [&str; 17] = [
    "matmul",
    "one_hot",
    "cumsum",
    "pool",
    "constant",
    "constant_index",
    "uniform",
    "normal",
    "drawn",
    "contrast",
    "eye",
    "range",
    "reshape",
    "reshape_index",
    "slice",
    "param",
    "buffer",
];

/// Tensors that are empty or too large, and numbers that are no sizes.
fn sizes() -> Vec<Attack> {
    let to = |size: &str, without: &[&str]| {
        let ops = SIZED.iter().filter(|op| !without.contains(op));
        ops.map(|op| format!("to={op} size={size}")).collect::<Vec<_>>()
    };
    let large = ["constant", "constant_index", "reshape", "reshape_index", "slice"];
    let empty = &[
        "a dimension of 0",
        "is empty",
        "above 0",
        "of a dimension of size",
        "another number of elements",
    ];
    let huge = &[
        "at most 2147483647",
        "more than 2147483647",
        "limit `tensor_bytes`",
        "limit `held_bytes`",
        "elements",
        "of a dimension of size",
        "values for shape",
    ];
    vec![
        Attack { ways: to("0", &["contrast"]), ..loss("no_size", "sizes", empty) }
            .on_gpu()
            .in_64_bits(),
        Attack { ways: to("2147483648", &large), ..loss("size_2_to_31", "sizes", huge) }.on_gpu(),
        Attack { ways: to("8000000000000000", &large), ..loss("size_8e15", "sizes", huge) }
            .on_gpu(),
        Attack { ways: to("9007199254740992", &[]), ..loss("size_2_to_53", "sizes", huge) },
        loss("huge", "huge", &["limit `tensor_bytes`"]).on_gpu(),
        loss("shapes", "shapes", &["the shapes don't broadcast"]).on_gpu(),
        numbers(),
        wat("negative_zero", &["a dimension of 0"]).on_gpu(),
        wat("operands", &["operand"]).numbered(4),
        wat("attributes", &["attribute", "the dimension is missing", "dimensions"]).numbered(4),
        wat("unknown_operation", &["this host doesn't know it"]).numbered(3),
        wat("kinds", &["must be integers", "must be floats"]).numbered(5),
        wat("forged", &["handle"]).numbered(5),
        wat("kept", &["handles live for one step only"]).in_training(),
        loss("stale", "stale", &["handles live for one step only"]).in_training(),
    ]
}

/// Memory of the host's.
fn memory() -> Vec<Attack> {
    let fill = |name, with: &'static str| {
        let memory = loss(name, "memory", &["limit `held_bytes`", "limit `tensor_bytes`"]);
        memory.ways(&[with]).limits("held_bytes=100000000").within(10.0, 160).in_64_bits()
    };
    vec![
        // Each of the small ones fits by far: it is their sum that doesn't.
        fill("reshapes", "with=reshapes").ways(&[
            "with=reshapes",
            "with=reshapes side=2048",
            "with=reshapes side=1024 times=200",
        ]),
        fill("copies", "with=copies").ways(&["with=copies", "with=copies side=1024 times=200"]),
        fill("slices", "with=slices").ways(&["with=slices", "with=slices side=1024 times=200"]),
        fill("doubling", "with=doubling"),
        fill("masks", "with=equal").ways(&["with=equal", "with=masks"]),
        fill("sorts", "with=sorts"),
        fill("products", "with=products"),
        fill("pools", "with=pools"),
        fill("draws", "with=draws"),
        fill("integers", "with=indices").ways(&["with=indices", "with=gathers"]),
        fill("parameters", "with=parameters"),
        fill("buffers", "with=buffers"),
        fill("gradients", "with=gradients"),
        fill("reads", "with=reads"),
        loss("many_tensors", "memory", &["limit `handles`"])
            .ways(&["with=small times=200000", "with=aside times=90000"])
            .within(20.0, 600),
        wat("input_loops", &["limit `handles`"]).limits("seconds=1").within(20.0, 600),
        loss("hungry", "hungry", &["limit `memory_bytes`"])
            .limits("memory_bytes=50000000")
            .in_sandbox(),
        wat("memory_grows", &["limit `memory_bytes`"]).limits("memory_bytes=50000000"),
        wat("memory_large", &["limit `memory_bytes`"]),
        wat("memories", &["limit"]),
        wat("instances", &["limit", "instances", "instance count"]),
        wat("table_grows", &["limit `table_elements`"]),
        wat("table_large", &["limit `table_elements`"]),
        wat("realloc_grows", &["limit `memory_bytes`"]).limits("memory_bytes=50000000"),
    ]
}

/// Time of the host's and of the component's own.
fn time() -> Vec<Attack> {
    let host = |name, ways: &[&str]| {
        loss(name, "times", &["limit `host_seconds`", "limit `held_bytes`", "limit `handles`"])
            .ways(ways)
            .limits("host_seconds=1 held_bytes=1000000000")
            .within(15.0, 1200)
    };
    let own = |name| {
        wat(name, &["limit `seconds`", "limit `host_seconds`"])
            .limits("seconds=0.3 host_seconds=1")
            .within(8.0, 100)
    };
    vec![
        host("time_of_products", &["by=products"]),
        host("time_of_matrices", &["by=matrices", "by=backward"]),
        host("time_of_sorts", &["by=sorts"]),
        host("time_of_draws", &["by=draws", "by=contrast"]),
        host("time_of_reads", &["by=reads"]),
        loss("endless", "endless", &["limit `seconds`"])
            .limits("seconds=0.3")
            .within(8.0, 100)
            .in_sandbox(),
        own("shape_loops"),
        own("read_loops"),
        Attack { says: &["operand 1 is missing", "limit `"], ..own("fail_loops") },
        own("start_loops"),
        own("describe_loops"),
        own("create_loops"),
        own("loss_loops"),
        own("realloc_loops"),
    ]
}

/// What the host keeps for a loss, and what comes back from it.
fn state() -> Vec<Attack> {
    const NOTHING: &[&str] = &["doesn't depend on", "nothing that learns", "no gradient"];
    let late = |name, what: &'static str| {
        loss(name, "keeps", &["after set-up", "it has shape"]).ways(&[what]).in_training()
    };
    let keeps = |name, ways: &[&str], says| loss(name, "keeps", says).ways(ways);
    let back =
        |name, back: &'static str, says| loss(name, "returns", says).ways(&[back]).in_training();
    vec![
        late("late_once", "what=once"),
        late("late_parameter", "what=param"),
        late("late_buffer", "what=buffer"),
        late("grown_parameter", "what=param_grows"),
        late("grown_buffer", "what=buffer_grows"),
        keeps("late_rows", &["what=rows_late"], &["is not in 0..64"]).in_training(),
        keeps(
            "many_names",
            &["what=once_many", "what=param_many"],
            &["limit `handles`", "limit `"],
        )
        .within(20.0, 600),
        keeps(
            "wrong_writes",
            &["what=set_wrong", "what=set_unknown", "what=rows_wrong", "what=rows_few"],
            &["the buffer has shape", "shape"],
        )
        .on_gpu(),
        keeps("logged_matrix", &["what=log_matrix"], &["only one number can be logged"]),
        keeps(
            "long_names",
            &["what=long_name", "what=long_log", "what=long_input"],
            &["its name has 1048576 bytes; at most 256"],
        ),
        keeps("strange_names", &["what=escape_name"], &["a dimension of 0"]),
        wat("returns", &["the tensor it returned", "returned a tensor", "a loss is one"])
            .numbered(5),
        loss("vector", "vector", &["returned a tensor of shape [6, 1]"]),
        back("constant", "back=constant", NOTHING),
        back("detached", "back=detached", NOTHING),
        back("drawn", "back=drawn", NOTHING),
        back("infinite", "back=infinite", &["inf"]),
        loss("nan", "nan", &["NaN"]).in_training(),
        loss("panics", "panics", &["the plugin panicked at"]).in_training(),
        loss("late", "late", &["after set-up"]).in_training(),
    ]
}

/// What a loss says.
fn talk() -> Vec<Attack> {
    vec![
        loss("long_messages", "talks", &["blah"])
            .ways(&["how=fail bytes=10000000", "how=undefined bytes=10000000"]),
        loss("longest_message", "talks", &["blah", "limit `memory_bytes`"])
            .ways(&["how=fail bytes=100000000"])
            .within(10.0, 600),
        loss("long_panic", "talks", &["the plugin panicked"]).ways(&["how=panic bytes=10000000"]),
        loss("escapes", "talks", &["wipe"]).ways(&["how=escape"]),
        loss("lines", "talks", &["first line"]).ways(&["how=lines"]),
        wat("blames", &["operand 1 is missing"]),
        wat("long_error", &["AAAA"]),
        wat("error_escapes", &["no"]),
        loss("times_of_logs", "times", &["limit `"])
            .ways(&["by=logs times=200000"])
            .within(20.0, 600),
    ]
}

/// What only a component can do.
fn components() -> Vec<Attack> {
    const TRAP: &[&str] = &["the plugin trapped", "failed"];
    vec![
        wat("pointers", TRAP).numbered(6),
        wat("utf8", TRAP),
        wat("realloc_far", TRAP),
        wat("realloc_odd", TRAP),
        wat("realloc_traps", TRAP),
        wat("recursion", &["call stack exhausted"]),
        wat("traps", TRAP).numbered(3),
        wat("create_traps", TRAP),
        wat("bad_result", TRAP),
        wat("nested", &["isn't a retort plugin", "isn't valid", "nest"]).within(8.0, 200),
        wat("functions", &["limit `compile_seconds`"])
            .limits("compile_seconds=0.5")
            .within(10.0, 600),
        wat("module", &["it is a core WebAssembly module, not a component"]),
        wat("wasi", &["the sandbox offers retort:loss/host only"]),
        wat("imports", &["doesn't fit the interface", "imports"]),
    ]
}

/// What a component says about itself.
fn descriptions() -> Vec<Attack> {
    let refused = |name| wat(name, &["isn't a retort plugin"]);
    vec![
        refused("name_path"),
        refused("name_escape"),
        refused("name_twice"),
        refused("name_long"),
        refused("name_empty"),
        refused("hyper_reserved"),
        refused("hyper_default"),
        refused("hyper_kind"),
        refused("hyper_twice"),
        refused("no_losses"),
        refused("no_json"),
        refused("other_interface"),
        refused("deep_json"),
        wat("long_description", &["descri", "limit"]).within(8.0, 700),
        wat("far_description", &["trapped", "failed"]),
        wat("no_text", &["trapped", "failed"]),
    ]
}
