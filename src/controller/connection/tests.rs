//! Launch permits and VM ids, of one `Hypervisor` and of several.

use super::*;
use crate::api::Hypervisor;
use crate::hypervisor::vm::ClusterIdentity;

fn at(second: u64) -> BootTime {
    BootTime::from_start(Duration::from_secs(second))
}

/// Whether the server of a Hypervisor must prove who it is.
#[derive(Clone, Copy, PartialEq)]
enum Tls {
    Verified,
    Insecure,
}

/// A Hypervisor of that name that was found to reach that cluster.
fn joined(
    all: &Connections,
    name: &str,
    cluster: &str,
    tls: Tls,
    allowance: (usize, usize),
) -> (Arc<Connection>, Joined) {
    let connection = all.get_or_make(&("backup".to_owned(), name.to_owned()));
    let hypervisor: Hypervisor = serde_json::from_value(serde_json::json!({
        "metadata": {"name": name, "namespace": "backup"},
        "spec": {
            "provider": "Proxmox", "endpoints": [], "credentialsSecretRef": {"name": "s"},
            "tls": {"insecureSkipVerify": tls == Tls::Insecure},
        },
    }))
    .unwrap();
    let cluster = ClusterIdentity {
        name: cluster.to_owned(),
        nodes: vec![format!("{cluster}-1"), format!("{cluster}-2")],
        ca_fingerprint: "AA".to_owned(),
    };
    let (launches, operations) = allowance;
    let joined = connection.join(Reach::of(&hypervisor, cluster), Allowance { launches, operations });
    connection.update(|state| state.vm_ids = (5000, 5003));
    (connection, joined)
}

#[test]
fn permits_are_given_in_turn() {
    let connection = Connection::default();
    assert!(connection.permit("a", 1, at(1)));
    assert!(connection.permit("a", 1, at(1)));
    assert!(!connection.permit("b", 1, at(1)));
    assert!(!connection.permit("c", 1, at(1)));
    connection.done("a");
    assert!(!connection.permit("c", 1, at(2)), "b asked first");
    assert!(connection.permit("b", 1, at(2)));
    connection.resume("d", at(2));
    connection.done("b");
    assert!(!connection.permit("c", 1, at(2)), "an operation that was resumed counts");
}

#[test]
fn who_is_not_heard_of_any_more_holds_nobody_up() {
    let connection = Connection::default();
    assert!(connection.permit("a", 1, at(1)));
    assert!(!connection.permit("gone", 1, at(1)));
    assert!(!connection.permit("c", 1, at(50)));
    connection.at_work("a", at(50));
    assert!(!connection.permit("c", 1, at(100)), "a is at work");
    connection.done("a");
    assert!(connection.permit("c", 1, at(101)), "the one before it in the queue never asked again");
    assert!(connection.permit("d", 1, at(300)), "c was never seen at work");
}

#[test]
fn ids_go_in_turn_and_none_is_given_twice() {
    let connection = Connection::default();
    connection.update(|state| {
        state.vm_ids = (5000, 5003);
        state.resting = BTreeSet::from([5001]);
    });
    let named = BTreeSet::from([5000]);
    assert_eq!(connection.reserve_id("a", &named), Some(5002));
    assert_eq!(connection.reserve_id("a", &named), Some(5002));
    assert_eq!(connection.reserve_id("b", &named), Some(5003));
    assert_eq!(connection.reserve_id("c", &named), None);
    connection.free_id("b");
    assert_eq!(connection.reserve_id("c", &named), Some(5003));
}

#[test]
fn launches_are_counted_over_all_that_reach_a_cluster() {
    let all = Connections::default();
    let (one, _) = joined(&all, "one", "prod", Tls::Verified, (4, 8));
    assert!(one.permit("a", 4, at(1)));
    let (two, _) = joined(&all, "two", "prod", Tls::Verified, (2, 8));
    let (other, _) = joined(&all, "other", "test", Tls::Verified, (2, 8));
    assert!(two.permit("b", 2, at(1)));
    assert!(!one.permit("c", 4, at(1)), "the lowest limit counts for all");
    assert!(!two.permit("d", 2, at(1)));
    assert!(other.permit("x", 2, at(1)) && other.permit("y", 2, at(1)), "another cluster is another matter");
    two.done("b");
    assert!(!two.permit("d", 2, at(2)), "c asked first");
    assert!(one.permit("c", 4, at(2)));
    all.remove(&("backup".to_owned(), "two".to_owned()));
    assert!(one.permit("e", 4, at(3)), "the lower limit went with the one that had it");
}

#[test]
fn an_operation_that_is_resumed_counts_before_it_is_known_where() {
    let all = Connections::default();
    let one = all.get_or_make(&("backup".to_owned(), "one".to_owned()));
    one.resume("a", at(1));
    joined(&all, "one", "prod", Tls::Verified, (1, 8));
    let (two, _) = joined(&all, "two", "prod", Tls::Verified, (1, 8));
    assert!(!two.permit("b", 1, at(2)));
    one.done("a");
    assert!(two.permit("b", 1, at(3)));
}

#[test]
fn one_that_checks_nobody_holds_nobody_up() {
    let all = Connections::default();
    let (safe, of_safe) = joined(&all, "safe", "prod", Tls::Verified, (2, 8));
    let (open, of_open) = joined(&all, "open", "prod", Tls::Insecure, (1, 1));
    assert!(!Arc::ptr_eq(&of_safe.limits, &of_open.limits));
    assert!(open.permit("x", 1, at(1)));
    assert!(safe.permit("a", 2, at(1)) && safe.permit("b", 2, at(1)));
    open.done("x");
    assert!(!open.permit("y", 1, at(1)), "it counts what the others do");
    assert_eq!(open.reserve_id("x", &BTreeSet::new()), Some(5000));
    assert_eq!(safe.reserve_id("a", &BTreeSet::new()), Some(5000));
    assert_eq!(open.reserve_id("x", &BTreeSet::new()), Some(5001), "it gives way");
}

#[test]
fn no_id_is_given_twice_on_a_cluster() {
    let all = Connections::default();
    let (one, _) = joined(&all, "one", "prod", Tls::Verified, (4, 8));
    let (two, _) = joined(&all, "two", "prod", Tls::Verified, (4, 8));
    let (other, _) = joined(&all, "other", "test", Tls::Verified, (4, 8));
    let none = BTreeSet::new();
    assert_eq!(one.reserve_id("a", &none), Some(5000));
    assert_eq!(two.reserve_id("b", &none), Some(5001));
    assert_eq!(one.reserve_id("a", &none), Some(5000), "and keeps it");
    assert_eq!(other.reserve_id("x", &none), Some(5000));
    one.free_id("a");
    assert_eq!(two.reserve_id("c", &none), Some(5002), "in turn, also for those that share");
    assert_eq!(one.sharers().len(), 2);
}

#[test]
fn whoever_is_asked_the_same_ones_decide_together() {
    let all = Connections::default();
    let key = |name: &str| ("backup".to_owned(), name.to_owned());
    let (one, _) = joined(&all, "one", "prod", Tls::Verified, (4, 8));
    let (two, _) = joined(&all, "two", "prod", Tls::Verified, (4, 8));
    let (open, _) = joined(&all, "open", "prod", Tls::Insecure, (4, 8));
    let (other, _) = joined(&all, "other", "test", Tls::Verified, (4, 8));
    let both = BTreeSet::from(["one", "two"].map(key));
    assert_eq!([one.partners(), two.partners()], [both.clone(), both]);
    assert_eq!(open.sharers().len(), 3, "it heeds the others");
    assert_eq!(open.partners(), BTreeSet::from([key("open")]), "but decides alone, for nobody heeds it");
    assert_eq!(other.partners(), BTreeSet::from([key("other")]));
    all.remove(&key("two"));
    assert_eq!(one.partners(), BTreeSet::from([key("one")]));
}

#[test]
fn limits_of_calls_are_those_of_the_cluster() {
    let all = Connections::default();
    let (_, first) = joined(&all, "one", "prod", Tls::Verified, (4, 8));
    assert!(first.is_news);
    let (_, second) = joined(&all, "two", "prod", Tls::Verified, (4, 3));
    assert!(Arc::ptr_eq(&first.limits, &second.limits));
    assert_eq!(first.limits.allowed(), 3);
    let (_, again) = joined(&all, "two", "prod", Tls::Verified, (4, 3));
    assert!(!again.is_news);
    // It is given another cluster: its word counts there, and no longer here.
    let (_, moved) = joined(&all, "two", "test", Tls::Verified, (4, 3));
    assert!(moved.is_news && !Arc::ptr_eq(&first.limits, &moved.limits));
    assert_eq!((first.limits.allowed(), moved.limits.allowed()), (8, 3));
    let (_, back) = joined(&all, "two", "prod", Tls::Verified, (4, 3));
    assert!(Arc::ptr_eq(&first.limits, &back.limits));
    all.remove(&("backup".to_owned(), "one".to_owned()));
    let (_, stays) = joined(&all, "two", "prod", Tls::Verified, (4, 5));
    assert!(Arc::ptr_eq(&first.limits, &stays.limits), "the pace stays when the one that came first goes");
    assert_eq!(stays.limits.allowed(), 5);
}

#[test]
fn of_many_that_find_a_place_empty_at_once_one_fills_it() {
    for _ in 0..50 {
        let all = Connections::default();
        let (one, _) = joined(&all, "one", "prod", Tls::Verified, (4, 8));
        let (two, _) = joined(&all, "two", "prod", Tls::Verified, (4, 8));
        let begin = std::sync::Barrier::new(8);
        let ask = &|number: usize| {
            let connection = if number.is_multiple_of(2) { &one } else { &two };
            begin.wait();
            connection.may_download(&format!("w{number}"), "nfs/x", "https://a/x", at(1))
        };
        let sights: Vec<ImageSight> = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..8).map(|number| scope.spawn(move || ask(number))).collect();
            asking.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let told: Vec<_> = sights.iter().filter(|sight| **sight != ImageSight::Downloading).collect();
        assert_eq!(told, [&ImageSight::Absent]);
    }
}
