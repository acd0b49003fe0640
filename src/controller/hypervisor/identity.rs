//! Whether the cluster that answers is the one that was pinned.

use crate::api::hypervisor_status::ClusterIdentity as Pinned;
use crate::hypervisor::vm::ClusterIdentity;

/// What a probe says of the cluster's identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is the one that is pinned, or is to be pinned now; with what is to be remembered of it.
    Known(ClusterIdentity),
    /// None is pinned yet, and a cluster without quorum is not: it may look like another one.
    Unpinned,
    /// It is another one.
    Changed {
        /// The name of the one that answers.
        name: String,
        /// In what it differs.
        why: String,
    },
}

/// Judges the cluster that answers. `accept` is the name of a cluster that may be taken over.
pub(super) fn judge(
    pinned: Option<&ClusterIdentity>,
    seen: &ClusterIdentity,
    quorate: bool,
    accept: Option<&str>,
) -> Standing {
    let Some(pinned) = pinned else {
        return if quorate { Standing::Known(seen.clone()) } else { Standing::Unpinned };
    };
    match difference(pinned, seen, quorate) {
        None if quorate => Standing::Known(merged(pinned, seen)),
        None => Standing::Known(pinned.clone()),
        Some(_) if quorate && accept == Some(seen.name.as_str()) => Standing::Known(seen.clone()),
        Some(why) => Standing::Changed { name: seen.name.clone(), why },
    }
}

/// In what the two differ. The name only counts with quorum: without, a node can look as if it stood alone.
fn difference(pinned: &ClusterIdentity, seen: &ClusterIdentity, quorate: bool) -> Option<String> {
    let both_known = !pinned.ca_fingerprint.is_empty() && !seen.ca_fingerprint.is_empty();
    if both_known && !pinned.ca_fingerprint.eq_ignore_ascii_case(&seen.ca_fingerprint) {
        return Some(format!("its root CA has the fingerprint {}, not {}", seen.ca_fingerprint, pinned.ca_fingerprint));
    }
    if quorate && pinned.name != seen.name {
        return Some(format!("it is called {:?}, not {:?}", seen.name, pinned.name));
    }
    if !pinned.nodes.iter().any(|node| seen.nodes.contains(node)) {
        let (seen, pinned) = (seen.nodes.join(", "), pinned.nodes.join(", "));
        return Some(format!("its nodes are {seen}, and none of {pinned}"));
    }
    None
}

/// Nodes that came and went are taken over; a fingerprint that could not be read this time is kept.
fn merged(pinned: &ClusterIdentity, seen: &ClusterIdentity) -> ClusterIdentity {
    let ca = if seen.ca_fingerprint.is_empty() { &pinned.ca_fingerprint } else { &seen.ca_fingerprint };
    ClusterIdentity { ca_fingerprint: ca.clone(), ..seen.clone() }
}

/// As it stands in a status: a node that stands alone has no cluster name.
pub(super) fn to_status(identity: &ClusterIdentity) -> Pinned {
    let alone = identity.nodes.len() == 1 && identity.nodes.first() == Some(&identity.name);
    let given = |text: &String| (!text.is_empty()).then(|| text.clone());
    Pinned {
        cluster_name: if alone { None } else { given(&identity.name) },
        nodes: identity.nodes.clone(),
        ca_fingerprint: given(&identity.ca_fingerprint),
    }
}

/// The identity that a status remembers.
pub(super) fn from_status(pinned: &Pinned) -> ClusterIdentity {
    let name = pinned.cluster_name.as_ref().or(pinned.nodes.first());
    ClusterIdentity {
        name: name.cloned().unwrap_or_default(),
        nodes: pinned.nodes.clone(),
        ca_fingerprint: pinned.ca_fingerprint.clone().unwrap_or_default(),
    }
}

/// Whether two pinned identities are those of one cluster.
pub(super) fn is_same(one: &ClusterIdentity, other: &ClusterIdentity) -> bool {
    difference(one, other, true).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(name: &str, nodes: &[&str], ca: &str) -> ClusterIdentity {
        ClusterIdentity {
            name: name.into(),
            nodes: nodes.iter().map(|node| (*node).to_owned()).collect(),
            ca_fingerprint: ca.into(),
        }
    }

    fn is_changed(seen: &ClusterIdentity, quorate: bool) -> bool {
        let pinned = cluster("prod", &["pve1", "pve2"], "AA");
        matches!(judge(Some(&pinned), seen, quorate, None), Standing::Changed { .. })
    }

    #[test]
    fn first_contact_pins_only_with_quorum() {
        let seen = cluster("prod", &["pve1"], "AA");
        assert_eq!(judge(None, &seen, true, None), Standing::Known(seen.clone()));
        assert_eq!(judge(None, &seen, false, Some("prod")), Standing::Unpinned);
    }

    #[test]
    fn name_ca_and_nodes_tell_clusters_apart() {
        assert!(!is_changed(&cluster("prod", &["pve2", "pve3"], "aa"), true));
        assert!(is_changed(&cluster("test", &["pve1", "pve2"], "AA"), true));
        assert!(is_changed(&cluster("prod", &["pve1", "pve2"], "BB"), true));
        assert!(is_changed(&cluster("prod", &["pve7"], "AA"), true));
    }

    #[test]
    fn a_node_that_lost_its_cluster_is_not_another_cluster() {
        assert!(!is_changed(&cluster("pve1", &["pve1"], "AA"), false));
        assert!(is_changed(&cluster("pve1", &["pve1"], "BB"), false));
    }

    #[test]
    fn nodes_are_taken_over_and_what_was_not_read_is_kept() {
        let pinned = cluster("prod", &["pve1", "pve2"], "AA");
        let seen = cluster("prod", &["pve2", "pve3"], "");
        let expected = cluster("prod", &["pve2", "pve3"], "AA");
        assert_eq!(judge(Some(&pinned), &seen, true, None), Standing::Known(expected));
        assert_eq!(judge(Some(&pinned), &seen, false, None), Standing::Known(pinned));
    }

    #[test]
    fn another_cluster_is_taken_over_by_name_and_with_quorum() {
        let pinned = cluster("pve", &["pve"], "AA");
        let seen = cluster("prod", &["pve1"], "BB");
        assert_eq!(judge(Some(&pinned), &seen, true, Some("prod")), Standing::Known(seen.clone()));
        assert!(matches!(judge(Some(&pinned), &seen, true, Some("pve")), Standing::Changed { .. }));
        assert!(matches!(judge(Some(&pinned), &seen, false, Some("prod")), Standing::Changed { .. }));
    }

    #[test]
    fn a_status_remembers_an_identity() {
        for identity in [cluster("prod", &["pve1", "pve2"], "AA"), cluster("pve", &["pve"], "")] {
            assert_eq!(from_status(&to_status(&identity)), identity);
        }
        assert_eq!(to_status(&cluster("pve", &["pve"], "")).cluster_name, None);
        let prod = cluster("prod", &["pve1"], "AA");
        assert!(is_same(&prod, &cluster("prod", &["pve1", "pve2"], "AA")));
        assert!(!is_same(&prod, &cluster("prod", &["pve1"], "BB")));
    }
}
