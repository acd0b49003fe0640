//! An object that was deleted and made again under its name.

use serde_json::json;
use stevedore::api::names::WORKER_FINALIZER;
use stevedore::controller::finalizer;
use stevedore::simulator::scenario::Scenario;

use crate::crash::world::{World, in_virtual_time, seed, worker};

#[test]
fn a_worker_that_took_the_place_of_another_gets_no_finalizer_for_it_and_loses_none() {
    in_virtual_time(async {
        let world = World::bare(seed(), Scenario::default_demo());
        world.create(worker("w1", &json!({}))).await;
        let first = world.worker("w1").await.unwrap();
        world.workers().delete("w1", &kube::api::DeleteParams::default()).await.unwrap();
        world.create(worker("w1", &json!({}))).await;
        let second = world.worker("w1").await.unwrap();
        assert_ne!(first.metadata.uid, second.metadata.uid);

        let refused = finalizer::add(&world.workers(), &first, WORKER_FINALIZER).await.unwrap_err();
        assert!(matches!(&refused, kube::Error::Api(status) if status.is_not_found()), "{refused:?}");
        assert_eq!(world.worker("w1").await.unwrap(), second);

        let second = finalizer::add(&world.workers(), &second, WORKER_FINALIZER).await.unwrap();
        let mut first = first;
        first.metadata.finalizers = Some(vec![WORKER_FINALIZER.to_owned()]);
        assert_eq!(finalizer::remove(&world.workers(), &first, WORKER_FINALIZER).await.unwrap(), None);
        assert_eq!(world.worker("w1").await.unwrap(), second);
    });
}
