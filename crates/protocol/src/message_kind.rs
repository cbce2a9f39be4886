//! The types of the messages, as their JSON names them.

use crate::{
    message::{Reply, Request},
    strategy_message::{StrategyReply, StrategyRequest},
};

impl Request {
    /// Returns the type, such as `train`.
    pub fn kind(&self) -> &'static str {
        match self {
            Request::Launch(_) => "launch",
            Request::Setup(_) => "setup",
            Request::GetWeights => "get_weights",
            Request::Train(_) => "train",
            Request::Evaluate(_) => "evaluate",
        }
    }

    /// Returns the client whose partition is used, if there is one.
    pub fn client(&self) -> Option<u32> {
        match self {
            Request::Train(train) => Some(train.client),
            Request::Evaluate(evaluate) => evaluate.client,
            Request::Launch(_) | Request::Setup(_) | Request::GetWeights => None,
        }
    }
}

impl Reply {
    /// Returns the type, such as `update`.
    pub fn kind(&self) -> &'static str {
        match self {
            Reply::Launched(_) => "launched",
            Reply::Hello { .. } => "hello",
            Reply::Ready(_) => "ready",
            Reply::Weights => "weights",
            Reply::Update(_) => "update",
            Reply::Evaluated { .. } => "evaluated",
            Reply::Failed { .. } => "failed",
        }
    }
}

impl StrategyRequest {
    /// Returns the type, such as `aggregate`.
    pub fn kind(&self) -> &'static str {
        match self {
            StrategyRequest::SetupStrategy(_) => "setup_strategy",
            StrategyRequest::Sample { .. } => "sample",
            StrategyRequest::Prepare { .. } => "prepare",
            StrategyRequest::Aggregate(_) => "aggregate",
        }
    }

    /// Returns the client that the request is about, if there is one.
    pub fn client(&self) -> Option<u32> {
        if let StrategyRequest::Prepare { client, .. } = self { Some(*client) } else { None }
    }
}

impl StrategyReply {
    /// Returns the type, such as `aggregated`.
    pub fn kind(&self) -> &'static str {
        match self {
            StrategyReply::Hello { .. } => "hello",
            StrategyReply::ReadyStrategy { .. } => "ready_strategy",
            StrategyReply::Sampled { .. } => "sampled",
            StrategyReply::Prepared { .. } => "prepared",
            StrategyReply::Aggregated => "aggregated",
            StrategyReply::Failed { .. } => "failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{evaluate_message::Evaluate, train_message::Update};

    use super::*;

    #[test]
    fn types_are_those_of_the_json() {
        let of = |value: serde_json::Value| value["type"].as_str().unwrap().to_owned();
        for request in [Request::GetWeights, Request::Evaluate(Evaluate::held_out(3, 1))] {
            assert_eq!(request.kind(), of(serde_json::to_value(&request).unwrap()));
        }
        for reply in [Reply::Weights, Reply::Hello { protocol: 2 }, Reply::Update(Update::plain(0, 1, 1))] {
            assert_eq!(reply.kind(), of(serde_json::to_value(&reply).unwrap()));
        }
        assert_eq!(Request::Evaluate(Evaluate::held_out(3, 1)).client(), Some(3));
    }
}
