//! Means, standard deviations, whether one method beats another by more than luck, and how far distances of two
//! kinds are apart.

use statrs::distribution::{ContinuousCDF as _, StudentsT};

/// The mean; NaN of nothing.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The standard deviation of a sample (divided by n - 1); 0 of fewer than two values.
pub fn deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let mean = mean(values);
    let sum: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    (sum / (values.len() - 1) as f64).sqrt()
}

/// Student's paired t-test, two-sided: the probability of differences between `a[i]` and `b[i]`, the
/// same seed with two methods, at least as large on average if the methods were equally good.
///
/// `None` for fewer than two pairs, for differences that are all the same (0 / 0: nothing tells how much luck
/// there is), and for numbers beyond all arithmetic. It supposes that the differences are normally
/// distributed, which few seeds can't show: read it as a scale, not as a proof.
pub fn paired_t(a: &[f64], b: &[f64]) -> Option<f64> {
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    let n = differences.len();
    if n < 2 {
        return None;
    }
    let (mean, deviation) = (mean(&differences), deviation(&differences));
    // Equal differences of unequal numbers differ in their last digit.
    let size = a.iter().chain(b).fold(0.0f64, |most, x| most.max(x.abs()));
    if deviation <= 1e-12 * size {
        return None;
    }
    let t = mean / (deviation / (n as f64).sqrt());
    if t.is_nan() {
        return None;
    }
    let student = StudentsT::new(0.0, 1.0, (n - 1) as f64).ok()?;
    Some((2.0 * student.sf(t.abs())).min(1.0))
}

/// The share of (positive, negative) pairs of distances in which the positive is the smaller (the area under the
/// ROC curve); equal ones count half. Sorts both.
pub fn separation(positive: &mut [f64], negative: &mut [f64]) -> f64 {
    positive.sort_by(f64::total_cmp);
    negative.sort_by(f64::total_cmp);
    let share = |p: &f64| {
        let below = negative.partition_point(|n| n < p);
        let not_above = negative.partition_point(|n| n <= p);
        (negative.len() - not_above) as f64 + 0.5 * (not_above - below) as f64
    };
    let sum: f64 = positive.iter().map(share).sum();
    sum / (positive.len() as f64 * negative.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::{deviation, paired_t, separation};

    #[test]
    fn separation_is_the_area_under_the_curve() {
        // sklearn.metrics.roc_auc_score of the same scores.
        let share = separation(&mut [0.1, 0.4, 0.35], &mut [0.8, 0.4, 0.2]);
        assert!((share - 6.5 / 9.0).abs() < 1e-12, "{share}");
        assert!((separation(&mut [1.0], &mut [1.0, 2.0]) - 0.75).abs() < 1e-12);
    }

    #[test]
    fn the_paired_test_gives_the_numbers_of_scipy() {
        // scipy.stats.ttest_rel([…], […]).pvalue
        let p = paired_t(&[83.2, 82.9, 84.1], &[76.6, 77.4, 75.9]).unwrap();
        assert!((p - 0.013_155_181_174_191_989).abs() < 1e-9, "{p}");
        let p = paired_t(&[1.0, 2.0, 3.0, 4.0, 5.0], &[1.1, 1.9, 3.2, 3.7, 5.3]).unwrap();
        assert!((p - 0.729_181_624_344_666_7).abs() < 1e-9, "{p}");
        assert_eq!(paired_t(&[1.0], &[2.0]), None);
        assert_eq!(paired_t(&[f64::MAX, f64::MIN, 0.0], &[f64::MIN, f64::MAX, 1.0]), None);
        // Constant differences: SciPy's is NaN, or 0 where the last digits differ.
        assert_eq!(paired_t(&[1.0, 2.0], &[1.0, 2.0]), None);
        assert_eq!(paired_t(&[0.0; 3], &[0.0; 3]), None);
        assert_eq!(paired_t(&[2.0, 3.0, 4.0], &[1.0, 2.0, 3.0]), None);
        assert_eq!(paired_t(&[100.0 * 0.3, 100.0 * 0.7], &[100.0 * 0.2, 100.0 * 0.6]), None);
        // 45 of 96 right against 46, 46, 47: one picture is no rounding.
        let p = paired_t(&[4500.0 / 96.0; 3], &[4600.0 / 96.0, 4600.0 / 96.0, 4700.0 / 96.0]);
        assert!((p.unwrap() - 0.057_190_958_417_936_644).abs() < 1e-9, "{p:?}");
        assert!((deviation(&[1.0, 2.0, 3.0]) - 1.0).abs() < 1e-12);
    }
}
