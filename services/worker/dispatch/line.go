package dispatch

import "time"

// line is an endpoint's deliveries that wait to begin. Fresh ones and those from
// its lane take turns: however much the lane holds ready, be it a replay, a fresh
// one waits for a place or two.
type line struct {
	fresh, lane list
	len         int
	lanes       bool // the next turn is the lane's
}

func (l *line) of(d *Delivery) *list {
	if d.FromLane {
		return &l.lane
	}
	return &l.fresh
}

func (l *line) push(d *Delivery) {
	d.place = inLine
	l.of(d).push(d)
	l.len++
}

// pop takes the next out. The line must not be empty.
func (l *line) pop() *Delivery {
	d := l.fresh.head
	if l.lane.head != nil && (l.lanes || d == nil) {
		d = l.lane.head
	}
	l.lanes = !d.FromLane
	l.take(nil, d)
	return d
}

// remove takes out a delivery that stands in the line.
func (l *line) remove(d *Delivery) {
	var before *Delivery
	for at := l.of(d).head; at != d; at = at.next {
		before = at
	}
	l.take(before, d)
}

func (l *line) take(before, d *Delivery) {
	l.of(d).unlink(before, d)
	d.place, d.next = outside, nil
	l.len--
}

// list is deliveries, first come first served.
type list struct{ head, tail *Delivery }

func (l *list) push(d *Delivery) {
	if l.tail == nil {
		l.head = d
	} else {
		l.tail.next = d
	}
	l.tail = d
}

func (l *list) unlink(before, d *Delivery) {
	if before == nil {
		l.head = d.next
	} else {
		before.next = d.next
	}
	if l.tail == d {
		l.tail = before
	}
}

// youth counts the attempts that began a moment ago.
type youth struct {
	max   int
	count int
	order []*Delivery // by when they began; some of them have ended
}

// room reports whether another may begin.
func (y *youth) room(now time.Time) bool {
	for len(y.order) > 0 && (!y.order[0].young || now.Sub(y.order[0].began) >= youngFor) {
		y.end(y.order[0])
		y.order[0] = nil
		y.order = y.order[1:]
	}
	return y.count < y.max
}

func (y *youth) add(d *Delivery, now time.Time) {
	d.began, d.young = now, true
	y.count++
	y.order = append(y.order, d)
}

// end stops counting d, if it still counts.
func (y *youth) end(d *Delivery) {
	if d.young {
		d.young = false
		y.count--
	}
}
