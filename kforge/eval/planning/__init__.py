"""What runs in the planning child: shapes, operator rules, the ``k`` object. Standard library only."""
