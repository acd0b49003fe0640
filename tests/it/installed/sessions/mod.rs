//! Sessions as users see them: declared with kubectl, decided on by an installed operator, worked off by simulated VMs.

mod chosen;
mod examples;
mod lot;
mod worked;

/// Parts that share one control plane, because it takes longer to start than what is tried on it.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_worked_off_as_their_users_are_told() {
    let lot = lot::Lot::open().await;
    worked::ten_vms_on_two_storages(&lot).await;
    worked::commands_run_to_their_ends(&lot).await;
    examples::commands_and_restic(&lot).await;
    examples::a_script_with_a_lease(&lot).await;
    examples::a_run_each_night(&lot).await;
    chosen::tasks_wait_for_workers_that_may_take_them(&lot).await;
    chosen::a_restore_overtakes_a_backup_that_waits(&lot).await;
    lot.close().await;
}
