//! One source file, three ways to load it: the same numbers, bit for bit.

use burn::tensor::FloatDType;
use retort_snapshots::{Case, cpu, load_paths, losses};

#[test]
fn values_and_gradients_are_bit_identical() {
    for loss in losses() {
        for dtype in [FloatDType::F32, FloatDType::F64] {
            for (n, d) in [(3, 3), (8, 4), (30, 16)] {
                let case = Case::example(n, d, n as u64);
                let mut first = None;
                for (path, name) in load_paths("plugins", &loss) {
                    let result = match case.run(&name, &cpu(), dtype) {
                        Ok(result) => result,
                        // Three samples are one pair, in which `n_pair` has nothing to tell apart.
                        Err(why) => {
                            assert!(n == 3 && why.contains("isn't defined on this batch"), "{why}");
                            let said = vec![(why, Vec::new())];
                            assert_eq!(*first.get_or_insert_with(|| said.clone()), said, "{path}");
                            continue;
                        }
                    };
                    // Some losses compare feature maps only, not the embedding.
                    let mut numbers = result.gradients.values().flatten();
                    assert!(n == 3 || numbers.any(|&g| g != 0.0), "{loss} has no gradient");
                    let bits: Vec<(String, Vec<u64>)> = [("value".to_owned(), vec![result.value])]
                        .into_iter()
                        .chain(result.terms.into_iter().map(|(n, v)| (n, vec![v])))
                        .chain(result.gradients)
                        .map(|(n, v)| (n, v.into_iter().map(f64::to_bits).collect()))
                        .collect();
                    let first = first.get_or_insert_with(|| bits.clone());
                    assert_eq!(*first, bits, "{loss}, {path}, {dtype:?}, n = {n}");
                }
            }
        }
    }
}

#[test]
fn losses_run_side_by_side_in_threads() {
    let case = Case::example(12, 8, 5);
    let jobs: Vec<_> = losses().iter().flat_map(|loss| load_paths("plugins", loss)).collect();
    let alone: Vec<f64> = jobs
        .iter()
        .map(|(_, name)| case.run(name, &cpu(), FloatDType::F32).unwrap().value)
        .collect();
    std::thread::scope(|scope| {
        for ((_, name), alone) in jobs.iter().zip(&alone) {
            let case = &case;
            scope.spawn(move || {
                for _ in 0..5 {
                    let value = case.run(name, &cpu(), FloatDType::F32).unwrap().value;
                    assert_eq!(value.to_bits(), alone.to_bits(), "{name}");
                }
            });
        }
    });
}
