"""Training settings of published programs that several backbones share."""

RECBOLE = {
    "embedding_dim": 64,
    "loss": "cross_entropy",
    "learning_rate": 1e-3,
    "batch_size": 2048,
    "max_epochs": 300,
    "lr_schedule": "constant",
    "weight_decay": 0.0,
    "n_iter_no_change": 10,
}

SRGNN_FAMILY = {  # for SR-GNN and TAGNN; GCE-GNN changes some
    "embedding_dim": 100,
    "loss": "cross_entropy",
    "learning_rate": 1e-3,
    "batch_size": 100,
    "max_epochs": 30,
    "lr_schedule": "step",
    "weight_decay": 1e-5,
    "n_iter_no_change": 10,
}
