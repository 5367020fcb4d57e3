package bus

// FloorOf is what a consumer's floor is by what it says of itself.
var FloorOf = floorOf
