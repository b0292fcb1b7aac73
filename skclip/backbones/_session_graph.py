"""Session graphs of a batch as tensors: nodes, edges and relations."""

from dataclasses import dataclass

import torch

from skclip.backbones._exporting import is_exporting


@dataclass(frozen=True)
class SessionGraph:
    """Graphs of the sessions of a batch, with distinct items as nodes.

    There are n sessions of at most `length` events and `size` nodes. Nodes are numbered
    by ascending item code within their session. Padding is not a node.
    """

    events: torch.Tensor  # (n, length), bool: whether a place has an event
    node: torch.Tensor  # (n, length): node of each event, 0 for padding
    last: torch.Tensor  # (n,): node of the last event
    mask: torch.Tensor  # (n, size), bool: whether a place has a node
    first: torch.Tensor  # (n, size): place of a node's first event
    counts: torch.Tensor  # (n, size), float: number of events of each node

    def of_nodes(self, x):
        """Return vectors of the nodes (n, size, d), given those of the events `x`."""
        return rows_at(x, self.first)

    def of_events(self, h):
        """Return vectors of the events (n, length, d), given those of the nodes."""
        return rows_at(h, self.node)

    def of_last(self, h):
        """Return vectors (n, d) of the last events, given those of the nodes `h`."""
        return rows_at(h, self.last[:, None]).squeeze(1)

    def nodes(self):
        """Return session and place of each node, or of all places in an export."""
        if not is_exporting():
            return torch.nonzero(self.mask, as_tuple=True)
        n, size = self.mask.shape
        device = self.mask.device
        row = torch.arange(n, device=device)[:, None].expand(n, size)
        return row.flatten(), torch.arange(size, device=device).repeat(n)

    def transitions(self):
        """Return session, source and target of each step, in order of time."""
        session, place = torch.nonzero(self.events[:, 1:], as_tuple=True)
        return session, self.node[session, place], self.node[session, place + 1]

    def adjacency(self, dtype):
        """Return a matrix (n, u, v) of 1 if u directly precedes v, and 0 if not."""
        n, size = self.mask.shape
        edges = torch.zeros(n, size * size, dtype=dtype, device=self.node.device)
        at = self.node[:, :-1] * size + self.node[:, 1:]
        is_step = self.events[:, 1:].to(dtype)  # padding writes a 0
        return edges.scatter_reduce_(1, at, is_step, "amax").view(n, size, size)

    def mean_edges(self, dtype):
        """Return matrices (n, size, size) that average over neighbors.

        Row v of the first matrix averages over the nodes that precede v, row u of the
        second over the nodes that follow u. A row without such nodes is zero.
        """
        edges = self.adjacency(dtype)
        incoming = edges / edges.sum(dim=1, keepdim=True).clamp_min_(1.0)
        outgoing = edges / edges.sum(dim=2, keepdim=True).clamp_min_(1.0)
        return incoming.transpose(1, 2), outgoing

    def relations(self):
        """Return the relation of v to u, (n, u, v), int64.

        0 is no edge, 1 the same node, 2 v precedes u, 3 v follows u, 4 both.
        """
        out = self.adjacency(torch.float32).bool()
        same = torch.eye(out.shape[1], dtype=torch.bool, device=out.device)
        out, back = out & ~same, (out & ~same).transpose(1, 2)
        kind = 3 * out.long() + 2 * back.long() - (out & back).long()
        return kind + (same & self.mask[:, :, None])

    def shortcuts(self):
        """Return whether u occurs at or before v's last event, (n, u, v), bool."""
        place = torch.arange(self.node.shape[1], device=self.node.device)
        place = place.expand_as(self.node).where(self.events, 0)
        last = self.first.scatter_reduce(1, self.node, place, "amax")
        both = self.mask[:, :, None] & self.mask[:, None, :]
        return (self.first[:, :, None] <= last[:, None, :]) & both

    def in_edges(self, number):
        """Return the edges into all nodes by time, packed for a recurrent cell.

        `number` (n, size) is the number of each node in the batch. The first result has
        the nodes with edges into them, those with most edges first. The second has the
        first sources of all these nodes, then their second sources, and so on. The last
        is a list: how many nodes have a first source, a second one, and so on.
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
        """Return the sources of the edges into all places, and their numbers.

        Sources are (n_places, length) in order of time, padded with arbitrary nodes.
        Their numbers are (n_places,). `in_edges` returns the same without padding, in
        sizes that depend on the data. `number` is the same as there.
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
        """Return shortcuts as flat sources and targets, numbered as in `in_edges`."""
        session, u, v = torch.nonzero(self.shortcuts(), as_tuple=True)
        return number[session, u], number[session, v]


def session_graph(batch):
    """Build the graphs of a batch with one query for each session."""
    events = batch.mask
    none = torch.iinfo(batch.codes.dtype).max
    codes = batch.codes.masked_fill(~events, none)
    # ONNX has a single sort operator, which is stable.
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
    """Return rows `index` (n, m) of each matrix of `x` (n, length, d): (n, m, d)."""
    n, length, d = x.shape
    begins = torch.arange(0, n * length, length, device=x.device)
    flat = (index + begins[:, None]).flatten()
    return x.reshape(-1, d).index_select(0, flat).view(n, -1, d)


def masked_softmax(logits, mask, dim=-1):
    """Softmax over the places where `mask` is true. All other places get 0."""
    logits = logits.masked_fill(~mask, -torch.inf)
    top = logits.detach().amax(dim=dim, keepdim=True).nan_to_num(neginf=0.0)
    weights = (logits - top).exp()
    return weights / weights.sum(dim=dim, keepdim=True).clamp_min(1e-30)
