package dispatch

import (
	"slices"
	"testing"

	"github.com/google/uuid"
)

func TestLine(t *testing.T) {
	t.Parallel()
	names := map[*Delivery]string{}
	add := func(l *line, name string) *Delivery {
		d := &Delivery{ID: uuid.New(), FromLane: name[0] == 'l'}
		names[d] = name
		l.push(d)
		return d
	}
	empty := func(l *line) (order []string) {
		for l.len > 0 {
			order = append(order, names[l.pop()])
		}
		return order
	}
	for _, tc := range []struct {
		name             string
		push, pull, want []string
	}{
		{name: "a lane that has much ready holds up no fresh delivery",
			push: []string{"l1", "l2", "l3", "f1", "f2"}, want: []string{"f1", "l1", "f2", "l2", "l3"}},
		{name: "fresh deliveries do not hold up the lane",
			push: []string{"f1", "f2", "f3", "f4", "l1", "l2"}, want: []string{"f1", "l1", "f2", "l2", "f3", "f4"}},
		{name: "what is taken out is gone, wherever it stood",
			push: []string{"f1", "f2", "f3", "l1", "l2", "l3"}, pull: []string{"f1", "f3", "l2"}, want: []string{"f2", "l1", "l3"}},
		{name: "the last of a kind may be taken out",
			push: []string{"f1", "l1"}, pull: []string{"f1", "l1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var l line
			for _, name := range tc.push {
				d := add(&l, name)
				if d.place != inLine {
					t.Errorf("%s is not in line", name)
				}
			}
			for d, name := range names {
				if d.place == inLine && slices.Contains(tc.pull, name) {
					l.remove(d)
				}
			}
			if got := empty(&l); !slices.Equal(got, tc.want) {
				t.Errorf("they come out as %q, want %q", got, tc.want)
			}
			if add(&l, "f9"); !slices.Equal(empty(&l), []string{"f9"}) {
				t.Error("the line is not as new when it is empty")
			}
			clear(names)
		})
	}
}
