//! `clock`: the guest's wall clock goes right.

use std::time::Duration;

use super::Verdict;
use super::asking::Told;

/// Judges the clock against ours, in favour of the guest by as much as the question's own time leaves open.
pub(super) fn judge(told: &Told, tolerance: Duration) -> Verdict {
    let (least, most) = offset_millis(told);
    let allowed = i64::try_from(tolerance.as_millis()).unwrap_or(i64::MAX);
    let seconds = least.midpoint(most).unsigned_abs() / 1000;
    let side = if least.midpoint(most) < 0 { "behind" } else { "ahead of" };
    if least > allowed || most < -allowed {
        return Err(format!(
            "expected the guest's clock to be within {} s of the operator's, but it is {seconds} s {side} it; look whether \
             a time service such as chrony runs in the image and reaches its servers, and whether the host's clock is right",
            tolerance.as_secs(),
        ));
    }
    Ok(if seconds == 0 {
        "in step with the operator's clock".to_owned()
    } else {
        format!("{seconds} s {side} the operator's clock")
    })
}

/// The guest's clock less ours, milliseconds: at least and at most.
///
/// The guest reads its clock when the script begins and when it ends, both between our two readings, and shows whole
/// seconds. Waiting inside the script so does not blur the comparison.
fn offset_millis(told: &Told) -> (i64, i64) {
    let (asked, answered) = (told.asked.as_millisecond(), told.answered.as_millisecond());
    let (first, last) = (told.facts.clock_begin.saturating_mul(1000), told.facts.clock_end.saturating_mul(1000));
    // If it was set meanwhile, what it said last is what it goes by from now on.
    let was_set = !(0..=answered.saturating_sub(asked).saturating_add(999)).contains(&last.saturating_sub(first));
    let earliest = if was_set { last } else { first };
    (last.saturating_sub(answered), earliest.saturating_add(999).saturating_sub(asked))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::super::super::facts::Facts;
    use super::*;

    fn told(clock_begin: i64, clock_end: i64, asked: i64, answered: i64) -> Told {
        let at = |second| Timestamp::from_second(second).unwrap();
        Told { facts: Facts { clock_begin, clock_end, ..Facts::default() }, asked: at(asked), answered: at(answered) }
    }

    const TOLERANCE: Duration = Duration::from_secs(30);

    #[test]
    fn a_clock_within_the_tolerance_passes() {
        assert_eq!(judge(&told(1000, 1000, 1000, 1000), TOLERANCE).unwrap(), "in step with the operator's clock");
        assert_eq!(judge(&told(1029, 1030, 1000, 1001), TOLERANCE).unwrap(), "29 s ahead of the operator's clock");
    }

    #[test]
    fn a_clock_that_is_off_fails_and_says_by_how_much() {
        let ahead = judge(&told(1125, 1126, 1000, 1001), TOLERANCE).unwrap_err();
        assert!(ahead.contains("within 30 s") && ahead.contains("125 s ahead of it"), "{ahead}");
        let behind = judge(&told(900, 901, 1000, 1001), TOLERANCE).unwrap_err();
        assert!(behind.contains("99 s behind it"), "{behind}");
    }

    #[test]
    fn a_long_wait_inside_the_script_hides_nothing() {
        assert!(judge(&told(1040, 1060, 1000, 1020), TOLERANCE).is_err());
        assert!(judge(&told(1000, 1020, 1000, 1020), TOLERANCE).is_ok());
    }

    #[test]
    fn a_slow_channel_is_not_the_guests_fault() {
        assert!(judge(&told(1000, 1000, 1000, 1080), TOLERANCE).is_ok());
        assert!(judge(&told(1080, 1080, 1000, 1080), TOLERANCE).is_ok());
    }

    #[test]
    fn a_clock_that_is_set_meanwhile_counts_as_it_is_now() {
        assert!(judge(&told(500, 1001, 1000, 1001), TOLERANCE).is_ok());
        assert!(judge(&told(1000, 501, 1000, 1001), TOLERANCE).is_err());
    }

    proptest! {
        #[test]
        fn no_clock_makes_it_panic(begin: i64, end: i64) {
            let _ = judge(&told(begin, end, 1000, 1001), TOLERANCE);
        }
    }
}
