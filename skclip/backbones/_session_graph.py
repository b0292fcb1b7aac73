"""Session graphs as tensors: nodes, edges, relations; made once for a batch."""

from dataclasses import dataclass

import torch

from skclip.backbones._exporting import is_exporting


@dataclass(frozen=True)
class SessionGraph:
    """Distinct items of each session of a batch as nodes. Padding is no node.

    n sessions of at most `length` events and `size` nodes. Nodes are numbered by
    ascending item code within their session.
    """

    events: torch.Tensor  # (n, length), bool: which places hold an event
    node: torch.Tensor  # (n, length): node of each event, 0 where there is none
    last: torch.Tensor  # (n,): node of the last event
    mask: torch.Tensor  # (n, size), bool: which places hold a node
    first: torch.Tensor  # (n, size): place of a node's first event
    counts: torch.Tensor  # (n, size), float: events of each node

    def of_nodes(self, x):
        """Vectors of the nodes (n, size, d) from those of the events `x`."""
        return rows_at(x, self.first)

    def of_events(self, h):
        """Vectors of the events (n, length, d) from those of the nodes `h`."""
        return rows_at(h, self.node)

    def of_last(self, h):
        """Vectors (n, d) of the last events from those of the nodes `h`."""
        return rows_at(h, self.last[:, None]).squeeze(1)

    def nodes(self):
        """Session and place of each node; of all places where a graph is exported."""
        if not is_exporting():
            return torch.nonzero(self.mask, as_tuple=True)
        n, size = self.mask.shape
        device = self.mask.device
        row = torch.arange(n, device=device)[:, None].expand(n, size)
        return row.flatten(), torch.arange(size, device=device).repeat(n)

    def transitions(self):
        """Session, source and target of each step, in order of session and time."""
        session, place = torch.nonzero(self.events[:, 1:], as_tuple=True)
        return session, self.node[session, place], self.node[session, place + 1]

    def adjacency(self, dtype):
        """1 where u precedes v directly, (n, u, v); repeated steps count once."""
        n, size = self.mask.shape
        edges = torch.zeros(n, size * size, dtype=dtype, device=self.node.device)
        at = self.node[:, :-1] * size + self.node[:, 1:]
        is_step = self.events[:, 1:].to(dtype)  # what is none writes a 0
        return edges.scatter_reduce_(1, at, is_step, "amax").view(n, size, size)

    def mean_edges(self, dtype):
        """Means over predecessors and successors as matrices, each (n, size, size).

        Row v of the first averages over the nodes that precede v, row u of the second
        over those that follow u; a row without any is zero.
        """
        edges = self.adjacency(dtype)
        incoming = edges / edges.sum(dim=1, keepdim=True).clamp_min_(1.0)
        outgoing = edges / edges.sum(dim=2, keepdim=True).clamp_min_(1.0)
        return incoming.transpose(1, 2), outgoing

    def relations(self):
        """How v relates to u, (n, u, v), int64.

        0 = no edge, 1 = the same node, 2 = v precedes u, 3 = v follows u, 4 = both.
        """
        out = self.adjacency(torch.float32).bool()
        same = torch.eye(out.shape[1], dtype=torch.bool, device=out.device)
        out, back = out & ~same, (out & ~same).transpose(1, 2)
        kind = 3 * out.long() + 2 * back.long() - (out & back).long()
        return kind + (same & self.mask[:, :, None])

    def shortcuts(self):
        """True where u occurs at v's last event or before, (n, u, v); loops too."""
        place = torch.arange(self.node.shape[1], device=self.node.device)
        place = place.expand_as(self.node).where(self.events, 0)
        last = self.first.scatter_reduce(1, self.node, place, "amax")
        both = self.mask[:, :, None] & self.mask[:, None, :]
        return (self.first[:, :, None] <= last[:, None, :]) & both

    def in_edges(self, number):
        """In-edges of all nodes in order of time, packed for a recurrent cell.

        `number` (n, size) is the number of each node in the batch. Returns the nodes
        with in-edges, most in-edges first; the first sources of all of them, then the
        second ones, ...; and a list of how many have a first source, a second, ...
        """
        session, source, target = self.transitions()
        source, target = number[session, source], number[session, target]
        targets, place, degree = torch.unique(
            target, return_inverse=True, return_counts=True
        )
        order = degree.argsort(descending=True, stable=True)
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order), device=order.device)
        by_target = rank[place].argsort(stable=True)  # keeps the order of time
        begins = degree[order].cumsum(0) - degree[order]
        ranks = rank[place][by_target]
        slot = torch.arange(len(ranks), device=ranks.device) - begins[ranks]
        packed = by_target[slot.argsort(stable=True)]
        return targets[order], source[packed], slot.bincount().tolist()

    def in_edge_table(self, number):
        """Sources of the in-edges of all places in order of time, and their numbers.

        (n_places, length), filled up with any, and (n_places,). `in_edges` holds the
        same without padding, in sizes that the data decide. `number` is as there.
        """
        (n, size), length = self.mask.shape, self.node.shape[1]
        source, target = self.node[:, :-1], self.node[:, 1:]
        is_step = self.events[:, 1:].long()
        same = (target[:, :, None] == target[:, None, :]).long() * is_step[:, None]
        slot = same.tril(-1).sum(dim=2)  # steps before with the same target
        table = torch.zeros(n, size * length, dtype=torch.int64, device=source.device)
        at = target * length + slot
        table = table.scatter_reduce(1, at, source * is_step, "amax")
        degree = torch.zeros_like(self.first).scatter_add(1, target, is_step)
        table = number.gather(1, table)
        return table.view(n * size, length), degree.flatten()

    def shortcut_edges(self, number):
        """Shortcuts as flat sources and targets; `number` as of `in_edges`."""
        session, u, v = torch.nonzero(self.shortcuts(), as_tuple=True)
        return number[session, u], number[session, v]


def session_graph(batch):
    """Find the nodes of the sessions of a batch that asks one query of each."""
    events = batch.mask
    none = torch.iinfo(batch.codes.dtype).max
    codes = batch.codes.masked_fill(~events, none)
    # ONNX has one way to sort, which keeps the order of equal values.
    how = {} if is_exporting() else {"stable": True}
    codes, place = codes.sort(dim=1, **how)
    new = torch.ones_like(events)
    new[:, 1:] = codes[:, 1:] != codes[:, :-1]
    number = new.cumsum(dim=1) - 1
    new &= codes != none
    node = torch.empty_like(number).scatter_(1, place, number).where(events, 0)
    n_nodes = new.sum(dim=1)
    size = codes.shape[1] if is_exporting() else int(n_nodes.max())
    first = number.new_zeros(codes.shape[0], size + 1)
    first.scatter_(1, number.where(new, size), place)  # the last column takes the rest
    first = first[:, :-1]
    counts = torch.zeros(codes.shape[0], size, device=codes.device)
    counts.scatter_add_(1, node, events.to(counts.dtype))
    return SessionGraph(
        events=events,
        node=node,
        last=node.gather(1, batch.ends[:, None] - 1).squeeze(1),
        mask=torch.arange(size, device=codes.device) < n_nodes[:, None],
        first=first,
        counts=counts,
    )


def rows_at(x, index):
    """Rows `index` (n, m) of each matrix of `x` (n, length, d): (n, m, d)."""
    n, length, d = x.shape
    begins = torch.arange(0, n * length, length, device=x.device)
    flat = (index + begins[:, None]).flatten()
    return x.reshape(-1, d).index_select(0, flat).view(n, -1, d)


def masked_softmax(logits, mask, dim=-1):
    """Softmax over the places where `mask` is true; 0 elsewhere, also if none is."""
    logits = logits.masked_fill(~mask, -torch.inf)
    top = logits.detach().amax(dim=dim, keepdim=True).nan_to_num(neginf=0.0)
    weights = (logits - top).exp()
    return weights / weights.sum(dim=dim, keepdim=True).clamp_min(1e-30)
